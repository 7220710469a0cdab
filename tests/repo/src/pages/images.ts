/** What docs/images.md finds: an image with a leaked cluster. */
import { open as openFile } from 'node:fs/promises'
import { create } from 'vmblock'

/** Makes the image: the refcount of a cluster that nothing uses is raised to 1. */
export async function prepare(): Promise<void> {
  await create('leaky.qcow2', { size: '64M' })
  const file = await openFile('leaky.qcow2', 'r+')
  const header = Buffer.alloc(64)
  await file.read(header, 0, 64, 0)
  const entry = Buffer.alloc(8)
  await file.read(entry, 0, 8, Number(header.readBigUInt64BE(48)))
  const leaked = Math.ceil((await file.stat()).size / 65536)
  await file.truncate((leaked + 1) * 65536)
  await file.write(Uint8Array.of(0, 1), 0, 2, Number(entry.readBigUInt64BE()) + 2 * leaked)
  await file.close()
}
