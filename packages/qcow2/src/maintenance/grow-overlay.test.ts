/**
 * An overlay grows: data that its backing file holds behind the old end stays hidden; if that file ends
 * before, nothing is hidden, and nothing is allocated. As measured with QEMU 7.2.
 */
import { openMemory } from '@vmblock/block-core'
import { describe, expect, test } from 'vitest'
import { bytesAt, createImage, filled, findings, open, SOUND } from '../testing/images.ts'

const CLUSTER = 65536
const BELOW = 100 * 1024

describe.each(['off', 'on'])('an overlay with extended_l2=%s', (extended) => {
  test.each([
    { before: 100 * 1024, allocates: false, what: 'ends where its backing file ends' },
    { before: 120 * 1024, allocates: false, what: 'ends behind it, in the same cluster' },
    { before: 300 * 1024, allocates: false, what: 'ends clusters behind it' },
    { before: 2 * CLUSTER, allocates: false, what: 'ends with a cluster' },
    { before: 90 * 1024, allocates: true, what: 'ends before it' },
  ])('that $what', async ({ before, allocates }) => {
    const file = await createImage({ size: before, extended_l2: extended })
    const backing = openMemory(filled(1, BELOW), { readOnly: true })
    const node = await open(file, { backing })
    const { size } = file
    await node.truncate(2 ** 20)
    expect((await node.blockStatus(before - 512, 512)).allocated).toBe(allocates && extended === 'off')
    if (!allocates) expect(file.size).toBe(size)
    const shown = new Uint8Array(2 ** 20)
    shown.set(filled(1, Math.min(before, BELOW)))
    expect(Buffer.compare(await bytesAt(node, 0, 2 ** 20), shown)).toBe(0)
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })
})

test('an overlay of version 2 does not grow where the backing file would show: there are no zero flags', async () => {
  const file = await createImage({ size: CLUSTER, compat: '0.10' })
  const backing = openMemory(filled(1, 4 * CLUSTER), { readOnly: true })
  const node = await open(file, { backing })
  await expect(node.truncate(3 * CLUSTER, { zero: true })).rejects.toMatchObject({
    code: 'ENOTSUP',
    message: 'Failed to zero out new clusters: Operation not supported',
  })
  expect(node.size).toBe(CLUSTER)
  await node.close()
})
