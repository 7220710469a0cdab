/** What docs/streams.md finds: a disk with a first sector. */
import { create, open } from 'vmblock'

/** Makes the disk. */
export async function prepare(): Promise<void> {
  await create('disk.qcow2', { size: '64M' })
  await using disk = await open('disk.qcow2')
  await disk.write(0, new TextEncoder().encode('first sector'))
}
