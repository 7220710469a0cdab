/** What docs/events.md finds: an image that was not closed, and one that contradicts itself. */
import { open as openFile } from 'node:fs/promises'
import { create, open } from 'vmblock'

/** Makes both images. */
export async function prepare(): Promise<void> {
  await create('crashed.qcow2', { size: '64M', lazyRefcounts: true })
  const crashed = await open('crashed.qcow2')
  await crashed.write(0, new Uint8Array(65536).fill(90))
  await crashed.flush()
  await crashed.node.crash()

  await create('corrupt.qcow2', { size: '64M' })
  const corrupt = await open('corrupt.qcow2')
  await corrupt.write(0, new Uint8Array(65536))
  await corrupt.close()
  const file = await openFile('corrupt.qcow2', 'r+')
  const numberAt = async (offset: number): Promise<bigint> => {
    const bytes = Buffer.alloc(8)
    await file.read(bytes, 0, 8, offset)
    return bytes.readBigUInt64BE()
  }
  const table = (await numberAt(Number(await numberAt(40)))) & 0x00fffffffffffe00n
  const entry = Buffer.alloc(8)
  entry.writeBigUInt64BE((await numberAt(Number(table))) | 0x200n)
  await file.write(entry, 0, 8, Number(table))
  await file.close()
}
