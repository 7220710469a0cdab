/** Changes by another process while an image was open read-only are seen when it becomes writable again. */
import { reopenNode } from '@vmblock/block-core'
import { toBytes } from '@vmblock/block-core/testing'
import { expect, test } from 'vitest'
import { bytesAt, copyOf, createImage, filled, open } from '../testing/images.ts'

test('an image that grew tables elsewhere is written without losing them', async () => {
  const file = await createImage({ size: 2 ** 20, cluster_size: 512 })
  const reader = await open(file, { 'read-only': true })
  expect(await bytesAt(reader, 0, 512)).toEqual(filled(0, 512))

  // Stands for another process: it shares nothing with the node that reads.
  const elsewhere = await copyOf(file)
  const writer = await open(elsewhere)
  await writer.write(0, filled(7, 2 ** 19))
  await writer.close()
  await file.write(0, await toBytes(elsewhere))

  await reopenNode(reader, { readOnly: false })
  await reader.write(2 ** 19, filled(9, 4096))
  expect(await bytesAt(reader, 0, 4096)).toEqual(filled(7, 4096))
  expect(await reader.check()).toMatchObject({ corruptions: 0, leaks: 0 })
  await reader.close()
})
