/** The table of internal snapshots, as the image file holds it. */
import { BlockError } from '@vmblock/block-core'
import { MAX_L1_BYTES, MAX_SNAPSHOT_TABLE_BYTES, MAX_SNAPSHOTS, validateTable } from './format/limits.ts'
import { parseSnapshotTable, type Snapshot } from './format/snapshot-layout.ts'
import type { Image } from './image.ts'

/** Snapshots, and how many bytes their table takes. */
export interface SnapshotList {
  readonly snapshots: readonly Snapshot[]
  readonly bytes: number
}

/** Bytes that an entry of the table usually needs. */
const USUAL_ENTRY = 256

/**
 * Reads the table. Where its L1 tables are is not looked at: see {@link loadSnapshots}.
 *
 * @throws BlockError EFBIG, or what the host reports
 */
export async function readSnapshotTable(image: Image): Promise<SnapshotList> {
  const { nbSnapshots, snapshotsOffset } = image.header
  if (nbSnapshots === 0) return { snapshots: [], bytes: 0 }
  // A check opens images that an ordinary open refuses.
  if (nbSnapshots > MAX_SNAPSHOTS)
    throw new BlockError('EFBIG', 'Snapshot table too large', { node: image.settings.nodeName })
  for (let bytes = Math.min(nbSnapshots * USUAL_ENTRY, MAX_SNAPSHOT_TABLE_BYTES); ; bytes *= 2) {
    const data = new Uint8Array(Math.min(bytes, MAX_SNAPSHOT_TABLE_BYTES))
    await image.file.read(snapshotsOffset, data)
    const { snapshots, length, truncated } = parseSnapshotTable(data, nbSnapshots)
    if (!truncated) return { snapshots, bytes: length }
    if (data.length === MAX_SNAPSHOT_TABLE_BYTES)
      throw new BlockError('EFBIG', 'Snapshot table is too big', { node: image.settings.nodeName })
  }
}

/** Reads the table, and makes sure that the L1 tables in it may be read. @throws BlockError EFBIG, EINVAL */
export async function loadSnapshots(image: Image): Promise<SnapshotList> {
  const list = await readSnapshotTable(image)
  for (const { l1TableOffset, l1Size } of list.snapshots)
    validateTable(l1TableOffset, l1Size, 8, MAX_L1_BYTES, image.geometry.clusterSize, 'Snapshot L1 table')
  return list
}
