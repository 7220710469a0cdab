/**
 * The table of snapshots, in a check: read before anything is counted, and written anew at the end where its entries are
 * not as they should be. Words and order of block/qcow2-snapshot.c, qcow2_check_read_snapshot_table and
 * qcow2_check_fix_snapshot_table.
 */
import {
  alignDown,
  alignUp,
  BlockError,
  divUp,
  errorText,
  isBlockError,
  messageOf,
  TWO_32,
  viewOf,
} from '@vmblock/block-core'
import { allocateClusters, freeClusters, releaseClusters } from '../allocate.ts'
import { HEADER_FIELD } from '../format/header.ts'
import {
  MAX_SNAPSHOT_EXTRA_DATA,
  MAX_SNAPSHOT_TABLE_BYTES,
  MAX_SNAPSHOTS,
  SNAPSHOT_ENTRY_BYTES,
  validateTable,
} from '../format/limits.ts'
import { serializeSnapshotTable } from '../format/snapshot-layout.ts'
import type { Image } from '../image.ts'
import { overhanging, TableRanges, walkSnapshots } from '../snapshots.ts'
import { beforeActivate } from '../write-order.ts'
import type { Check, CheckedSnapshots } from './references.ts'

/** Bytes of extra data that each entry of a version 3 image has: the large VM state size, and the size of the disk. */
const LEAST_EXTRA_DATA = 16

/**
 * Looks at the table as a whole. A repair cuts off overhanging entries at once, because all that follows relies on their
 * number; what else is wrong is put right by {@link rewriteSnapshotTable}.
 *
 * @throws BlockError EINVAL, EFBIG, or what the host reports: the check cannot go on, and said so
 */
export async function checkSnapshotTable(check: Check): Promise<CheckedSnapshots> {
  const { image, fixErrors } = check
  const { header } = image
  const given = header.nbSnapshots
  // An ordinary open refuses such tables, and does not throw away what is too much.
  const cuts = fixErrors && image.settings.checkMode
  image.snapshotTableLimit = cuts ? image.file.size : undefined
  const excess = cuts ? Math.max(given - MAX_SNAPSHOTS, 0) : 0
  if (excess > 0) check.report(`Discarding ${excess} overhanging snapshots`)
  header.nbSnapshots = given - excess
  image.overlaps.forget()
  try {
    validatePlace(check)
    const { behind, ...table } = await measure(check)
    const cut = excess + behind
    if (cut > 0) await writeCount(check, given - cut)
    return { ...table, cut }
  } catch (error) {
    header.nbSnapshots = given
    check.result.checkErrors++
    throw error
  }
}

function validatePlace(check: Check): void {
  const { image } = check
  const { nbSnapshots: count, snapshotsOffset } = image.header
  const [entry, what] = [SNAPSHOT_ENTRY_BYTES, 'snapshot table']
  try {
    if (count > MAX_SNAPSHOTS) throw overhanging(image, `${what} too large`, count - MAX_SNAPSHOTS)
    validateTable(snapshotsOffset, count, entry, entry * MAX_SNAPSHOTS, image.geometry.clusterSize, what)
  } catch (error) {
    reportUnreadable(check, '', error)
    throw error
  }
}

function reportUnreadable({ reportFailure }: Check, what: string, error: unknown): void {
  const hint = isBlockError(error) && error.hint !== undefined ? `\n${error.hint}` : ''
  reportFailure(`ERROR ${what}${messageOf(error)}${hint}`)
}

/** Reads the table once. What is wrong with its entries is reported. */
async function measure(check: Check): Promise<Omit<CheckedSnapshots, 'cut'> & { readonly behind: number }> {
  const { image, fixErrors, report } = check
  const found = { count: 0, withTable: 0, broken: 0, behind: 0, isCounted: false }
  const table = new TableRanges(image)
  const incomplete: number[] = []
  const cuts = {
    extraData(index: number, bytes: number): void {
      report(
        `Discarding too much extra metadata in snapshot table entry ${index} (${bytes} > ${MAX_SNAPSHOT_EXTRA_DATA})`,
      )
      found.broken++
    },
    overhanging(count: number, why: 'length' | 'end of file'): void {
      const reason = why === 'length' ? 'snapshot table is too big' : 'they are behind the end of the file'
      report(`Discarding ${count} overhanging snapshots (${reason})`)
      found.behind = count
    },
  }
  try {
    for await (const piece of walkSnapshots(image, cuts)) {
      table.add(piece)
      for (const { l1Size, extraDataSize } of piece.snapshots) {
        if (extraDataSize < LEAST_EXTRA_DATA) incomplete.push(found.count)
        if (l1Size > 0) found.withTable++
        found.count++
      }
    }
  } catch (error) {
    reportUnreadable(check, 'failed to read the snapshot table: ', error)
    throw error
  }
  const ranges = table.all
  if (image.header.version < 3) return { ...found, ranges }
  for (const index of incomplete)
    report(`${fixErrors ? 'Repairing' : 'ERROR'} snapshot table entry ${index} is incomplete`)
  return { ...found, ranges, broken: found.broken + incomplete.length }
}

async function writeCount({ image, report }: Check, count: number): Promise<void> {
  const field = new Uint8Array(4)
  viewOf(field).setUint32(0, count)
  image.header.nbSnapshots = count
  try {
    await writeHeaderField(image, field)
  } catch (error) {
    report(`ERROR failed to update the snapshot count in the image header: ${errorText(error)}`)
    throw error
  }
}

/** Writes the number of snapshots, and what comes behind it. */
const writeHeaderField = (image: Image, bytes: Uint8Array): Promise<void> =>
  image.changeRoot('header', async () => {
    await image.file.write(HEADER_FIELD.nbSnapshots, bytes)
    await image.flushFile()
  })

/**
 * Writes the table anew, in unused space, with every entry complete and nothing too much in it. The refcounts are right by
 * now; the old table stays what it is until the header leads to the new one.
 *
 * @throws BlockError EFBIG where that makes it too long, or what the host reports
 */
export async function rewriteSnapshotTable(check: Check): Promise<void> {
  const { image, snapshots } = check
  const { clusterSize } = image.geometry
  try {
    await activate(image, await writeTable(image))
  } catch (error) {
    check.report(`ERROR failed to update snapshot table: ${errorText(error)}`)
    check.result.checkErrors++
    throw error
  }
  if (!snapshots.isCounted) return
  for (const range of snapshots.ranges) {
    const offset = alignDown(range.offset, clusterSize)
    const bytes = alignUp(range.offset + range.bytes, clusterSize) - offset
    await image.lock.run(() => freeClusters(image, { offset, bytes, reason: 'snapshot' }))
  }
}

/** @returns host bytes of the new table; 0 where there is none, because no snapshot is left */
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

/** The new table, piece by piece. `at`: bytes from its beginning. */
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

/** Leads the header to the new table, which is durable. */
async function activate(image: Image, offset: number): Promise<void> {
  const fields = new Uint8Array(12)
  const view = viewOf(fields)
  view.setUint32(0, image.header.nbSnapshots)
  view.setUint32(4, Math.floor(offset / TWO_32))
  view.setUint32(8, offset % TWO_32)
  await writeHeaderField(image, fields)
  image.header.snapshotsOffset = offset
  image.overlaps.forget()
}
