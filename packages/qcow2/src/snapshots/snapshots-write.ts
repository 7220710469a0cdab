/** Writes the snapshot table (block/qcow2-snapshot.c, qcow2_write_snapshots). */
import { alignDown, alignUp, BlockError, divUp } from '@vmblock/block-core/driver'
import type { HostRange } from '../format/host-range.ts'
import { MAX_SNAPSHOT_TABLE_BYTES } from '../format/rare-limits.ts'
import { serializeSnapshotTable } from '../format/snapshot-layout.ts'
import type { Image } from '../image/image.ts'
import { beforeActivate } from '../image/write-order.ts'
import { allocateClusters, freeClusters, releaseClusters } from '../refcounts/allocate.ts'
import { walkSnapshots } from './snapshots.ts'

/**
 * Writes the table anew, in unused space, with every entry complete and without excess data. The old table
 * stays valid until the header points at the new one.
 *
 * @param old ranges of the old table, which are freed afterwards
 * @throws BlockError EFBIG if the new table is too long, or the error of the file
 */
export async function rewriteSnapshots(image: Image, old: readonly HostRange[]): Promise<void> {
  const { clusterSize } = image.geometry
  const snapshotsOffset = await writeTable(image)
  await image.headerWriter.change({ nbSnapshots: image.header.nbSnapshots, snapshotsOffset })
  image.overlaps.forget()
  for (const range of old) {
    const offset = alignDown(range.offset, clusterSize)
    const bytes = alignUp(range.offset + range.bytes, clusterSize) - offset
    await image.lock.run(() => freeClusters(image, { offset, bytes, reason: 'snapshot' }))
  }
}

/** @returns host offset (bytes) of the new table; 0 if there is none, because no snapshot is left */
async function writeTable(image: Image): Promise<number> {
  const { clusterSize } = image.geometry
  let length = 0
  for await (const { at, bytes } of newTable(image)) length = at + bytes.length
  if (length > MAX_SNAPSHOT_TABLE_BYTES)
    throw new BlockError('EFBIG', 'Snapshot table is too big', { node: image.settings.nodeName })
  if (length === 0) return 0
  const { offset } = await image.lock.run(async () => allocateClusters(image, divUp(length, clusterSize)))
  try {
    await image.overlaps.guard(offset, length)
    for await (const { at, bytes } of newTable(image)) await image.file.write(offset + at, bytes)
    await beforeActivate(image)
    return offset
  } catch (error) {
    await image.lock
      .run(() => releaseClusters(image, offset, alignUp(length, clusterSize)))
      .catch(() => undefined)
    throw error
  }
}

/** The new table, piece by piece. `at`: bytes from its start. */
async function* newTable(image: Image): AsyncGenerator<{ readonly at: number; readonly bytes: Uint8Array }> {
  let at = 0
  for await (const { snapshots } of walkSnapshots(image)) {
    const table = serializeSnapshotTable(snapshots, image.size)
    const bytes = new Uint8Array(alignUp(table.length, 8))
    bytes.set(table)
    yield { at, bytes }
    at += bytes.length
  }
}
