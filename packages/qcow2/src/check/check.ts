/**
 * Checks and repairs an image: counts all references, compares them with the refcounts, repairs what may be
 * repaired, then checks the COPIED flags. Messages, counts and order are those of QEMU 7.2
 * (block/qcow2-refcount.c, qcow2_check_refcounts), because scripts compare them.
 */

import { checkFinding } from '@vmblock/block-core/check'
import {
  BlockError,
  type CheckFinding,
  type CheckOptions,
  type CheckReport,
  divUp,
  type JobControl,
} from '@vmblock/block-core/driver'
import { loadBitmapCode } from '../bitmaps/load-bitmaps.ts'
import { Incompatible } from '../format/features.ts'
import type { Image } from '../image/image.ts'
import { beforeClean } from '../image/write-order.ts'
import { quiesceImage } from '../requests/flush.ts'
import { CheckProgress } from './check-progress.ts'
import {
  allowedDifferences,
  type Check,
  type CheckedSnapshots,
  ENTRIES,
  emptyReport,
  found,
} from './check-state.ts'
import { compareRefcounts, freeBehindEnd } from './compare.ts'
import { checkCopied } from './copied.ts'
import { countReferences } from './count.ts'
import { rebuildRefcounts } from './rebuild.ts'
import { allowedPieces, References, refuseHugeFile } from './references.ts'
import { checkSnapshotTable, repairSnapshotTable } from './snapshot-table.ts'
import { StoredRefcounts } from './stored-refcounts.ts'

/**
 * Checks an image on which no request runs. After a repair that left no corruption, the dirty bit and the
 * corrupt bit are cleared. When it is cancelled, each repair so far is complete in itself: the image is as after a
 * repair of fewer problems, and both bits stay.
 *
 * @throws BlockError EIO if the check could not be completed, or if only `leaks` may be repaired and the
 *   refcount structure would have to be rebuilt: then the dirty bit stays
 */
export async function checkImage(
  image: Image,
  { repair, report = () => undefined, reportFailure = report }: CheckOptions,
  control: JobControl,
): Promise<CheckReport> {
  if (image.writable && !image.dirtyBit.needsRepair) await quiesceImage(image)
  refuseHugeFile(image)
  const references = new References(image, await allowedPieces(image))
  let showsOther = false
  const check: Check = {
    image,
    progress: new CheckProgress(control),
    result: emptyReport(),
    references,
    stored: new StoredRefcounts(references),
    fixErrors: repair === 'all',
    fixLeaks: repair !== undefined,
    rebuild: false,
    entriesLeft: ENTRIES,
    snapshots: NO_SNAPSHOTS,
    isAllCopied: true,
    differencesLeft: await allowedDifferences(image),
    report(finding) {
      showsOther ||= finding.repaired && changesContent(finding)
      report(finding)
    },
    reportFailure,
  }
  try {
    return await runCheck(check)
  } finally {
    if (showsOther && image.header.extensions.bitmaps) await (await loadBitmapCode()).noteRepair(image)
    image.snapshotTableLimit = undefined
  }
}

/** Whether repairing it changes entries of the guest's data, and not only how they are counted. */
const changesContent = ({ what, owner }: CheckFinding): boolean =>
  (owner?.structure === 'l1-table' || owner?.structure === 'l2-table') &&
  !/^(refcount|copied|shared|leaked)/.test(what)

async function runCheck(check: Check): Promise<CheckReport> {
  const { image, result, fixLeaks: repairs } = check
  check.snapshots = await checkSnapshotTable(check)
  check.progress.expectWalk(image)
  result.totalClusters = divUp(image.size, image.geometry.clusterSize)
  const highest = await checkRefcounts(check)
  await checkCopied(check)
  result.imageEndOffset = (highest + 1) * image.geometry.clusterSize
  if (repairs && isSound(result)) await freeBehindEnd(check)
  await finishSnapshotTable(check)
  if (repairs) {
    await image.refblocks.writeBack()
    await image.flushFile()
    if (isSound(result)) await declareSound(image)
  }
  check.progress.end()
  return result
}

const NO_SNAPSHOTS: CheckedSnapshots = {
  count: 0,
  withTable: 0,
  ranges: [],
  cut: 0,
  broken: 0,
  lost: new Set(),
  isCounted: false,
}

const isSound = ({ checkErrors, corruptions }: CheckReport): boolean => checkErrors === 0 && corruptions === 0

/** Repairs the snapshot table after the refcounts, and only now counts its problems. */
async function finishSnapshotTable(check: Check): Promise<void> {
  const { result, snapshots, fixErrors } = check
  if (fixErrors && snapshots.broken + snapshots.lost.size > 0) await repairSnapshotTable(check)
  result[fixErrors ? 'corruptionsFixed' : 'corruptions'] += snapshots.broken
  result.corruptionsFixed += snapshots.cut
}

/** Only a complete repair may clear the dirty bit and the corrupt bit. @throws the error of the file */
async function declareSound(image: Image): Promise<void> {
  const { dirtyBit, headerWriter } = image
  dirtyBit.needsRepair = false
  await dirtyBit.clear()
  if ((headerWriter.header.incompatible & Incompatible.corrupt) === 0n) return
  await beforeClean(image)
  await headerWriter.setFeature(Incompatible.corrupt, false, 'either is valid')
}

/** @returns the highest cluster in use */
async function checkRefcounts(check: Check): Promise<number> {
  const { image, result } = check
  await count(check)
  const before = { ...result }
  const highest = await compareRefcounts(check, { errors: false, leaks: false })
  if (check.rebuild && check.fixErrors) return rebuild(check)
  if (!check.fixLeaks) return highest
  if (check.rebuild) {
    found(check, 'rebuild-needed', 'ERROR need to rebuild refcount structures')
    throw new BlockError('EIO', 'the refcount structures have to be rebuilt, which repairs more than leaks', {
      node: image.settings.nodeName,
    })
  }
  if (result.leaks === 0 && result.corruptions === 0) return highest
  Object.assign(result, before)
  check.progress.expectComparison(image)
  return compareRefcounts(check, { errors: check.fixErrors, leaks: check.fixLeaks })
}

async function count(check: Check): Promise<void> {
  Object.assign(check.result, { allocatedClusters: 0, fragmentedClusters: 0, compressedClusters: 0 })
  check.entriesLeft = ENTRIES
  await countReferences(check)
}

async function rebuild(check: Check): Promise<number> {
  const { image, result, references } = check
  const { corruptions, leaks } = result
  check.report(checkFinding('refcounts-rebuilt', 'Rebuilding refcount structure', { repaired: true }))
  await rebuildRefcounts(image, references, check.progress)
  result.corruptions = 0
  result.leaks = 0
  check.rebuild = false
  references.clear()
  check.progress.expectWalk(image)
  const again: Check = { ...check, fixErrors: false, fixLeaks: false }
  await count(again)
  // The old structure is leaked now. Differences found while it is freed are not reported again, except those
  // that cannot be repaired.
  const sub: Check = { ...check, rebuild: again.rebuild, result: emptyReport() }
  const highest = await compareRefcounts(sub, { errors: false, leaks: true })
  if (sub.rebuild)
    check.report(checkFinding('repair-failed', 'ERROR rebuilt refcount structure is still broken'))
  await image.refblocks.writeBack()
  if (result.corruptions < corruptions) result.corruptionsFixed += corruptions - result.corruptions
  if (result.leaks < leaks) result.leaksFixed += leaks - result.leaks
  result.leaks += sub.result.leaks
  return highest
}
