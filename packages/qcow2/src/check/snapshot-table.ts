/**
 * The snapshot table in a check: read before anything is counted, and written anew at the end if its entries
 * are broken. Messages and order of block/qcow2-snapshot.c, qcow2_check_read_snapshot_table and
 * qcow2_check_fix_snapshot_table.
 */

import { checkFinding } from '@vmblock/block-core/check'
import { isBlockError, messageOf } from '@vmblock/block-core/driver'
import { errorText } from '@vmblock/block-core/late'
import { MAX_SNAPSHOTS, SNAPSHOT_ENTRY_BYTES, validateTable } from '../format/limits.ts'
import { MAX_SNAPSHOT_EXTRA_DATA } from '../format/rare-limits.ts'
import { isComplete } from '../format/snapshot-layout.ts'
import { assumingField } from '../image/assume-header.ts'
import { overhanging, TableRanges, walkSnapshots } from '../snapshots/snapshots.ts'
import { rewriteSnapshots } from '../snapshots/snapshots-write.ts'
import { type Check, type CheckedSnapshots, found } from './check-state.ts'
import { HEADER, placeIn, snapshotTable } from './tables.ts'

/**
 * Checks the table as a whole. A repair cuts off overhanging entries at once, because all further steps rely
 * on their number; {@link repairSnapshotTable} fixes the rest.
 *
 * @throws BlockError EINVAL, EFBIG, or the error of the file: the check cannot continue, which was reported
 */
export async function checkSnapshotTable(check: Check): Promise<CheckedSnapshots> {
  const { image, fixErrors } = check
  const given = image.header.nbSnapshots
  // An ordinary open refuses such tables, so entries are discarded only in check mode.
  const cuts = fixErrors && image.settings.checkMode
  image.snapshotTableLimit = cuts ? image.file.size : undefined
  const excess = cuts ? Math.max(given - MAX_SNAPSHOTS, 0) : 0
  if (excess > 0) reportExcess(check, excess, MAX_SNAPSHOTS, '')
  try {
    return await assumingField(image.headerWriter, 'nbSnapshots', given - excess, async () => {
      image.overlaps.forget()
      validateTableFields(check)
      const { behind, ...table } = await measure(check)
      const cut = excess + behind
      if (cut > 0) await writeCount(check, given - cut)
      return { ...table, cut }
    })
  } catch (error) {
    check.result.checkErrors++
    throw error
  }
}

/** Reports that a repair cuts off `count` entries, from the one at `index` on. */
function reportExcess({ image, report }: Check, count: number, index: number, why: string): void {
  const message = `Discarding ${count} overhanging snapshots${why}`
  const place = placeIn(snapshotTable(image), index)
  report(checkFinding('excess-snapshots', message, { ...place, repaired: true }))
}

function validateTableFields(check: Check): void {
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

function reportUnreadable({ image, reportFailure }: Check, what: string, error: unknown): void {
  const hint = isBlockError(error) && error.hint !== undefined ? `\n${error.hint}` : ''
  const place = placeIn(HEADER, undefined, image.header.snapshotsOffset)
  reportFailure(checkFinding('unreadable-table', `ERROR ${what}${messageOf(error)}${hint}`, place))
}

/** Reads the table once, and reports broken entries. */
async function measure(check: Check): Promise<Omit<CheckedSnapshots, 'cut'> & { readonly behind: number }> {
  const { image, fixErrors, report } = check
  const table = { count: 0, withTable: 0, broken: 0, behind: 0, lost: new Set<number>(), isCounted: false }
  const covered = new TableRanges(image)
  const incomplete: number[] = []
  const cuts = {
    extraData(index: number, bytes: number): void {
      const message = `Discarding too much extra metadata in snapshot table entry ${index} (${bytes} > ${MAX_SNAPSHOT_EXTRA_DATA})`
      const place = placeIn(snapshotTable(image), index)
      report(checkFinding('excess-snapshot-data', message, { ...place, repaired: true }))
      table.broken++
    },
    overhanging(count: number, why: 'length' | 'end of file'): void {
      const reason = why === 'length' ? 'snapshot table is too big' : 'they are behind the end of the file'
      reportExcess(check, count, table.count, ` (${reason})`)
      table.behind = count
    },
  }
  try {
    for await (const piece of walkSnapshots(image, cuts)) {
      covered.add(piece)
      for (const snapshot of piece.snapshots) {
        if (!isComplete(snapshot)) incomplete.push(table.count)
        if (snapshot.l1Size > 0) table.withTable++
        table.count++
      }
    }
  } catch (error) {
    reportUnreadable(check, 'failed to read the snapshot table: ', error)
    throw error
  }
  const ranges = covered.all
  if (image.header.version < 3) return { ...table, ranges }
  for (const index of incomplete) {
    const message = `${fixErrors ? 'Repairing' : 'ERROR'} snapshot table entry ${index} is incomplete`
    const place = placeIn(snapshotTable(image), index)
    report(checkFinding('incomplete-snapshot', message, { ...place, repaired: fixErrors }))
  }
  return { ...table, ranges, broken: table.broken + incomplete.length }
}

async function writeCount({ image, report }: Check, count: number): Promise<void> {
  try {
    await image.headerWriter.change({ nbSnapshots: count })
  } catch (error) {
    const message = `ERROR failed to update the snapshot count in the image header: ${errorText(error)}`
    report(checkFinding('repair-failed', message, placeIn(HEADER)))
    throw error
  }
}

/**
 * Writes the table anew if entries are broken, without those that are lost. The refcounts are right by now.
 *
 * @throws BlockError EFBIG if the new table is too long, or the error of the file
 */
export async function repairSnapshotTable(check: Check): Promise<void> {
  const { image, snapshots, result } = check
  const { lost } = snapshots
  try {
    // If the table was not counted, the clusters that it seems to cover may belong to other structures.
    const old = snapshots.isCounted ? snapshots.ranges : []
    await image.lock.run(() => rewriteSnapshots(image, old, { without: lost }))
  } catch (error) {
    const message = `ERROR failed to update snapshot table: ${errorText(error)}`
    found(check, 'repair-failed', message, placeIn(snapshotTable(image)))
    throw error
  }
  result.corruptions -= lost.size
  result.corruptionsFixed += lost.size
}
