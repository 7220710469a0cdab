/** Picked files and web servers, in a real browser. */
import { expect, test } from 'vitest'
import { pattern, readBack } from '../testing/contract-kit.ts'
import { openTestNode } from '../testing/nodes.ts'
import { readOnlyContract } from '../testing/read-only-contract.ts'
import { blob } from './blob.ts'
import { http } from './http.ts'

const READ_ONLY = { config: { readOnly: true } }

readOnlyContract('blob', (content) =>
  openTestNode(blob, { options: { blob: new Blob([new Uint8Array(content)]) }, ...READ_ONLY }),
)

let count = 0
readOnlyContract('http', async (content) => {
  const url = new URL(`/disks/${count++}`, location.href).href
  await fetch(url, { method: 'POST', body: new Uint8Array(content) })
  return openTestNode(http, { options: { url }, ...READ_ONLY })
})

test('a file of the origin private file system, picked and then changed, is not read any more', async () => {
  const root = await navigator.storage.getDirectory()
  const handle = await root.getFileHandle('picked', { create: true })
  const fill = async (bytes: Uint8Array): Promise<void> => {
    const writable = await handle.createWritable()
    await writable.write(new Uint8Array(bytes))
    await writable.close()
  }
  await fill(pattern(200_000))
  const node = await openTestNode(blob, { options: { blob: await handle.getFile() }, ...READ_ONLY })
  expect(await readBack(node, 0, 10)).toEqual(pattern(10))
  await fill(pattern(200_001, 2))
  await expect(readBack(node, 150_000, 10)).rejects.toMatchObject({ code: 'EIO' })
})

test('what is no Blob is refused', async () => {
  await expect(openTestNode(blob, { options: { blob: 'text' }, ...READ_ONLY })).rejects.toMatchObject({
    code: 'EINVAL',
    message: "Parameter 'blob' expects a Blob or File",
  })
})
