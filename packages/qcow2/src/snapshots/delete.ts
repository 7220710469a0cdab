/** Deletes a snapshot, and frees what only it needed. See change.ts. */
import { alignUp, type SnapshotChoice, viewOf } from '@vmblock/block-core/driver'
import type { Image } from '../image/image.ts'
import { freeClusters } from '../refcounts/allocate.ts'
import { ownAgain } from './apply.ts'
import { changing, makeDurable, switchHeader, undoing } from './change.ts'
import { chooseSnapshot, loadSnapshotDisk } from './choose.ts'
import { isOpen } from './open-views.ts'
import { removeReferences } from './references.ts'
import { refusal } from './refusal.ts'
import { TableRanges, walkSnapshots } from './snapshots.ts'
import { freeTable, releaseTable, writeTable } from './snapshots-write.ts'

/**
 * Forgets a snapshot.
 *
 * @throws BlockError as `SnapshotOps.delete`: then everything is as before
 */
export function deleteSnapshot(image: Image, choice: SnapshotChoice): Promise<void> {
  return changing(image, async () => {
    const { index, snapshot } = await chooseSnapshot(image, choice)
    if (isOpen(image, snapshot)) throw refusal(image, 'EBUSY', 'The snapshot is open')
    const { l1, l1TableOffset } = await loadSnapshotDisk(image, snapshot)
    const ranges = new TableRanges(image)
    for await (const piece of walkSnapshots(image)) ranges.add(piece)
    await undoing(image, async (undo) => {
      const table = await writeTable(image, { without: new Set([index]) })
      undo(() => releaseTable(image, table))
      await makeDurable(image)
      await switchHeader(image, { nbSnapshots: table.count, snapshotsOffset: table.offset })
    })
    image.overlaps.forget()
    await freeTable(image, ranges.all)
    const isDone = await removeReferences(image, viewOf(l1.subarray(0, snapshot.l1Size * 8)))
    const bytes = alignUp(snapshot.l1Size * 8, image.geometry.clusterSize)
    if (bytes > 0) await freeClusters(image, { offset: l1TableOffset, bytes, reason: 'snapshot' })
    await ownAgain(image, isDone)
  })
}
