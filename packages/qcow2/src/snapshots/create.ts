/**
 * Makes a snapshot: from then on it shares everything with the disk, and both copy what they change. See change.ts. What the
 * area for machine state holds goes with it, whatever size it says: nothing tells whether it is wanted.
 */
import { divUp, type SnapshotInfo, type SnapshotSettings, viewOf } from '@vmblock/block-core/driver'
import { errorText } from '@vmblock/block-core/late'
import { encodeName } from '../format/encode-name.ts'
import { MAX_SNAPSHOTS } from '../format/limits.ts'
import type { Snapshot } from '../format/snapshot-layout.ts'
import { decodeName } from '../format/words.ts'
import type { Image } from '../image/image.ts'
import { allocateClusters, releaseClusters } from '../refcounts/allocate.ts'
import { changing, leaveForRepair, makeDurable, switchHeader, undoing } from './change.ts'
import { clearCopied, refreshCopied, withoutCopied, writeL1 } from './copied-flags.ts'
import { dropVmState } from './drop-vm-state.ts'
import { addReferences, removeReferences } from './references.ts'
import { refusal } from './refusal.ts'
import { infoOf, NAME_BYTES, TableRanges, walkSnapshots } from './snapshots.ts'
import { freeTable, releaseTable, writeTable } from './snapshots-write.ts'

/** Decimal ids that are compared as numbers: longer ones are no successor of any id that is. */
const NUMBER = /^\s*(\d{1,38})(?!\d)/

/**
 * Makes a snapshot of what the disk holds now.
 *
 * @throws BlockError as `SnapshotOps.create`: then everything is as before
 */
export function createSnapshot(image: Image, settings: SnapshotSettings): Promise<SnapshotInfo> {
  if (image.hasDataFile)
    throw refusal(image, 'ENOTSUP', 'An image with a data file cannot have internal snapshots')
  return changing(image, async () => {
    const { header, geometry } = image
    if (header.nbSnapshots >= MAX_SNAPSHOTS) throw refusal(image, 'EFBIG', 'Snapshot table too large')
    const { oldTable, nextId } = await survey(image)
    const l1 = withoutCopied(image.l1.bytes)
    let created!: Snapshot
    await undoing(image, async (undo) => {
      const bytes = divUp(l1.length, geometry.clusterSize) * geometry.clusterSize
      const l1TableOffset =
        bytes === 0 ? 0 : (await allocateClusters(image, bytes / geometry.clusterSize)).offset
      if (bytes > 0) undo(() => releaseClusters(image, l1TableOffset, bytes))
      const guarded = image.overlaps.guard(l1TableOffset, l1.length)
      if (guarded) await guarded
      await image.file.debugEvent('l1_update')
      if (bytes > 0) await image.file.write(l1TableOffset, l1)
      created = entryOf(image, settings, nextId, { l1TableOffset, l1Size: l1.length / 8 })
      const table = await writeTable(image, { added: created })
      undo(() => releaseTable(image, table))
      await addReferences(image, viewOf(l1))
      undo(() => unshare(image, l1))
      await makeDurable(image)
      await clearCopied(image, viewOf(l1))
      await image.flushFile()
      image.l1.bytes.set(withoutCopied(image.l1.bytes))
      await writeL1(image)
      await image.flushFile()
      await switchHeader(image, { nbSnapshots: table.count, snapshotsOffset: table.offset })
    })
    image.overlaps.forget()
    await freeTable(image, oldTable)
    await dropVmState(image).catch((error: unknown) => {
      leaveForRepair(image)
      image.events.warn(`qcow2: the machine state is still part of the disk: ${errorText(error)}`)
    })
    return infoOf(created)
  })
}

/** Takes back what the new snapshot counted, and gives the disk its clusters back. @throws the error of the file */
async function unshare(image: Image, l1: Uint8Array): Promise<void> {
  if (!(await removeReferences(image, viewOf(l1)))) leaveForRepair(image)
  await makeDurable(image)
  await refreshCopied(image)
}

/** Reads the table: where it lies, and the id of the next snapshot. */
async function survey(image: Image) {
  const ranges = new TableRanges(image)
  let last = 0n
  for await (const piece of walkSnapshots(image)) {
    ranges.add(piece)
    for (const { id } of piece.snapshots) {
      const number = NUMBER.exec(decodeName(id))
      if (number && BigInt(number[1]!) > last) last = BigInt(number[1]!)
    }
  }
  return { oldTable: ranges.all, nextId: `${last + 1n}` }
}

function entryOf(
  image: Image,
  { name, vmStateSize, icount, ...times }: SnapshotSettings,
  id: string,
  l1: { readonly l1TableOffset: number; readonly l1Size: number },
): Snapshot {
  return {
    ...times,
    l1TableOffset: BigInt(l1.l1TableOffset),
    l1Size: l1.l1Size,
    id: encodeName(id),
    name: encodeName(name).slice(0, NAME_BYTES),
    vmStateSize: BigInt(vmStateSize),
    diskSize: BigInt(image.size),
    icount,
    extraDataSize: 0,
    unknownExtraData: new Uint8Array(0),
  }
}
