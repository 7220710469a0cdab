/** Applies a snapshot: the disk gets its content, size and machine state, in one step. See change.ts. */
import { alignUp, BlockError, type SnapshotChoice, viewOf } from '@vmblock/block-core/driver'
import { hasBitmaps } from '../image/has-bitmaps.ts'
import type { Image } from '../image/image.ts'
import { allocateClusters, freeClusters, releaseClusters } from '../refcounts/allocate.ts'
import { changing, leaveForRepair, makeDurable, switchHeader, undoing } from './change.ts'
import { chooseSnapshot, loadSnapshotDisk } from './choose.ts'
import { clearCopied, refreshCopied, withoutCopied } from './copied-flags.ts'
import { addReferences, removeReferences } from './references.ts'
import { refusal } from './refusal.ts'

/**
 * Gives the disk what a snapshot holds.
 *
 * @throws BlockError as `SnapshotOps.apply`: then everything is as before
 */
export function applySnapshot(image: Image, choice: SnapshotChoice): Promise<void> {
  if (hasBitmaps(image)) throw refusal(image, 'EBUSY', 'Device has active dirty bitmaps')
  if (image.hasDataFile)
    throw refusal(image, 'ENOTSUP', 'An image with a data file cannot have internal snapshots')
  return changing(image, async () => {
    const { header, geometry } = image
    const { clusterSize } = geometry
    const disk = await loadSnapshotDisk(image, (await chooseSnapshot(image, choice)).snapshot)
    if (disk.size !== image.size && header.version < 3)
      throw refusal(image, 'ENOTSUP', "Can't resize a v2 image which has snapshots")
    const old = {
      l1: image.l1.view,
      offset: header.l1TableOffset,
      bytes: alignUp(header.l1Size * 8, clusterSize),
    }
    const l1 = withoutCopied(disk.l1)
    await undoing(image, async (undo) => {
      const bytes = alignUp(l1.length, clusterSize)
      const l1TableOffset = bytes === 0 ? 0 : (await allocateClusters(image, bytes / clusterSize)).offset
      if (bytes > 0) {
        undo(() => releaseClusters(image, l1TableOffset, bytes))
        await image.overlaps.guard(l1TableOffset, l1.length)
        await image.file.debugEvent('l1_grow_write_table')
        await image.file.write(l1TableOffset, l1)
      }
      await addReferences(image, viewOf(l1))
      undo(async () => {
        if (!(await removeReferences(image, viewOf(l1)))) leaveForRepair(image)
      })
      await makeDurable(image)
      await clearCopied(image, viewOf(l1))
      await image.flushFile()
      const { cryptMethod } = header
      const size = disk.size === image.size ? header.size : disk.size
      await switchHeader(image, { size, cryptMethod, l1Size: l1.length / 8, l1TableOffset })
    })
    image.setL1(l1)
    image.l2Tables.clear()
    image.overlaps.forget()
    await giveBack(image, old)
  })
}

/** Frees what the disk held before, and gives it the clusters that it owns alone now. Failures leave leaks. */
async function giveBack(
  image: Image,
  old: { readonly l1: DataView; readonly offset: number; readonly bytes: number },
): Promise<void> {
  const isDone = await removeReferences(image, old.l1)
  if (old.bytes > 0) await freeClusters(image, { offset: old.offset, bytes: old.bytes, reason: 'snapshot' })
  await ownAgain(image, isDone)
}

/**
 * Sets COPIED where the disk owns a cluster alone now.
 *
 * @param isDone whether all refcounts were lowered that had to be
 */
export async function ownAgain(image: Image, isDone: boolean): Promise<void> {
  try {
    await makeDurable(image)
    await refreshCopied(image)
    await image.flushFile()
    if (!isDone) leaveForRepair(image)
  } catch (error) {
    leaveForRepair(image)
    const why = error instanceof BlockError ? error.message : String(error)
    image.events.warn(
      `qcow2: clusters could not be marked as owned: ${why}; they will be copied when written`,
    )
  }
}
