/** What docs/bitmaps.md finds: a disk to be backed up. */
import { create } from 'vmblock'

/** Makes the disk. */
export const prepare = (): Promise<void> => create('disk.qcow2', { size: '16M' })
