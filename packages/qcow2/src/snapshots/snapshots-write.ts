/** Writes the snapshot table (block/qcow2-snapshot.c, qcow2_write_snapshots). Runs under the image's lock. */
import { alignDown, alignUp, BlockError, divUp } from '@vmblock/block-core/driver'
import type { HostRange } from '../format/host-range.ts'
import { MAX_SNAPSHOT_TABLE_BYTES } from '../format/rare-limits.ts'
import { type Snapshot, serializeSnapshotTable } from '../format/snapshot-layout.ts'
import type { Image } from '../image/image.ts'
import { beforeActivate } from '../image/write-order.ts'
import { allocateClusters, freeClusters, releaseClusters } from '../refcounts/allocate.ts'
import { walkSnapshots } from './snapshots.ts'

/** What a new table has that the old one has not, and what it leaves out. */
export interface TableEdit {
  /** Indexes of entries that are left out. */
  readonly without?: ReadonlySet<number>
  /** Comes last. */
  readonly added?: Snapshot
}

/** A table that was written, and to which nothing refers yet. Offset and length are bytes; no clusters if it is empty. */
export interface NewTable {
  readonly offset: number
  readonly length: number
  readonly count: number
}

/**
 * Writes the table anew, in unused space, with every entry complete and without excess data. The old table
 * stays valid until the header points at the new one.
 *
 * @param old ranges of the old table, which are freed afterwards
 * @throws BlockError EFBIG if the new table is too long, or the error of the file
 */
export async function rewriteSnapshots(
  image: Image,
  old: readonly HostRange[],
  edit: TableEdit = {},
): Promise<void> {
  const { offset, count, length } = await writeTable(image, edit)
  try {
    await beforeActivate(image)
  } catch (error) {
    await releaseTable(image, { offset, count, length }).catch(() => undefined)
    throw error
  }
  await image.headerWriter.change({ nbSnapshots: count, snapshotsOffset: offset })
  image.overlaps.forget()
  await freeTable(image, old)
}

/** Frees the clusters of a table to which the header no longer points. */
export async function freeTable(image: Image, ranges: readonly HostRange[]): Promise<void> {
  const { clusterSize } = image.geometry
  for (const range of ranges) {
    const offset = alignDown(range.offset, clusterSize)
    const bytes = alignUp(range.offset + range.bytes, clusterSize) - offset
    await freeClusters(image, { offset, bytes, reason: 'snapshot' })
  }
}

/**
 * Writes the new table, in unused space. Does not flush.
 *
 * @throws BlockError EFBIG if it is too long, ENOSPC, or the error of the file: then its clusters are free again
 */
export async function writeTable(image: Image, edit: TableEdit): Promise<NewTable> {
  const { clusterSize } = image.geometry
  let [length, count] = [0, 0]
  for await (const piece of newTable(image, edit)) {
    length = piece.at + piece.bytes.length
    count += piece.count
  }
  if (length > MAX_SNAPSHOT_TABLE_BYTES)
    throw new BlockError('EFBIG', 'Snapshot table is too big', { node: image.settings.nodeName })
  if (length === 0) return { offset: 0, length, count }
  const { offset } = await allocateClusters(image, divUp(length, clusterSize))
  try {
    await image.overlaps.guard(offset, length)
    for await (const { at, bytes } of newTable(image, edit)) await image.file.write(offset + at, bytes)
  } catch (error) {
    await releaseTable(image, { offset, length, count }).catch(() => undefined)
    throw error
  }
  return { offset, length, count }
}

/** Gives the clusters of a new table back, to which nothing ever referred. @throws the error of the file */
export async function releaseTable(image: Image, { offset, length }: NewTable): Promise<void> {
  if (length > 0) await releaseClusters(image, offset, alignUp(length, image.geometry.clusterSize))
}

/** The new table, piece by piece. `at`: bytes from its start. */
async function* newTable(
  image: Image,
  { without, added }: TableEdit,
): AsyncGenerator<{ readonly at: number; readonly bytes: Uint8Array; readonly count: number }> {
  let [at, index] = [0, 0]
  for await (const { snapshots } of walkSnapshots(image)) {
    const first = index
    const kept = without ? snapshots.filter((_, i) => !without.has(first + i)) : snapshots
    index += snapshots.length
    if (kept.length === 0) continue
    const bytes = serialized(image, kept)
    yield { at, bytes, count: kept.length }
    at += bytes.length
  }
  if (added) yield { at, bytes: serialized(image, [added]), count: 1 }
}

/** Entries with the padding that the next one needs. */
function serialized(image: Image, snapshots: readonly Snapshot[]): Uint8Array {
  const table = serializeSnapshotTable(snapshots, image.size)
  const bytes = new Uint8Array(alignUp(table.length, 8))
  bytes.set(table)
  return bytes
}
