/**
 * The consistency check: every entry points where a cluster or table can be, and none is referenced twice.
 * Counts and repairs are as in QEMU (block/qed-check.c), which prints no findings: all are silent.
 */

import { checkFinding } from '@vmblock/block-core/check'
import {
  type CheckFinding,
  type CheckOptions,
  type CheckReport,
  divUp,
  type FindingDetails,
  type FindingOwner,
  type FindingWord,
  isZero,
  type JobControl,
  pause,
  viewOf,
} from '@vmblock/block-core/driver'
import { allowedPages, ClusterSet, ENTRIES_OF_UNIT, tooMuch } from './cluster-set.ts'
import type { Image } from './image.ts'
import { ENTRY, entryAt, setEntry, ZERO_CLUSTER } from './lookup.ts'

/** Tables are read in pieces of at most this many bytes. */
const PIECE = 2 ** 20

/** A running check. */
interface Check {
  readonly image: Image
  readonly control: JobControl
  readonly report: Required<CheckReport>
  /** Takes findings. */
  readonly tell: (finding: CheckFinding) => void
  /** How many were told. */
  told: number
  readonly repairs: boolean
  readonly used: ClusterSet
  /** Bytes of empty tables that may still be read. */
  bytesLeft: number
}

/**
 * Bytes of empty tables that a check of any image may read: this takes some seconds. They may lie in holes.
 */
const BYTES = 2 ** 28

/**
 * Checks an image on which no request runs. A repair clears entries that point outside the file; the
 * need-check bit is cleared if no error is left. Leaks and clusters with two references cannot be repaired.
 * Progress is in tables. When a repair is cancelled, the entries cleared so far are cleared, and the bit stays.
 */
export async function checkImage(
  image: Image,
  { repair, report: tell = () => undefined }: CheckOptions,
  control: JobControl,
): Promise<CheckReport> {
  return image.lock.run(async () => {
    if (image.writable) await image.writeTables()
    const check: Check = {
      image,
      control,
      report: emptyReport(divUp(image.size, image.clusterSize)),
      tell,
      told: 0,
      repairs: repair !== undefined,
      used: new ClusterSet(image, await allowedPages(image)),
      bytesLeft: BYTES,
    }
    const { imageEndOffset: _, ...report } = await run(check).finally(() => {
      if (!check.repairs) return
      // The tables on disk were changed without the caches.
      image.l1Table.clear()
      image.l2Tables.clear()
    })
    if (!check.repairs) return report
    await image.flushFile()
    if (report.corruptions === 0 && report.checkErrors === 0) {
      image.needsRepair = false
      await image.markClean()
    }
    return report
  })
}

const emptyReport = (totalClusters: number): Required<CheckReport> => ({
  corruptions: 0,
  leaks: 0,
  corruptionsFixed: 0,
  leaksFixed: 0,
  checkErrors: 0,
  imageEndOffset: 0,
  totalClusters,
  allocatedClusters: 0,
  fragmentedClusters: 0,
  compressedClusters: 0,
})

/** A table that is being walked, in bytes. */
interface Table {
  readonly structure: 'l1-table' | 'l2-table'
  readonly offset: number
  /** Where the guest sees what the first entry covers, and how much each covers. */
  readonly guestOffset: number
  readonly coverage: number
  /** What an entry refers to has that many bytes. */
  readonly target: number
}

async function run(check: Check): Promise<Required<CheckReport>> {
  const { image, report, used } = check
  const { clusterSize, tableBytes } = image
  const { l1TableOffset, headerSize } = image.header
  // Numbers alone: a hostile image may have millions.
  const tables: number[] = []
  const indexes: number[] = []
  const l1: Table = {
    structure: 'l1-table',
    offset: l1TableOffset,
    guestOffset: 0,
    coverage: (tableBytes / ENTRY) * clusterSize,
    target: tableBytes,
  }
  // Refers to itself here, which nothing tells of: it is the first to be taken.
  takeClusters(check, l1, 0, l1TableOffset)
  await walk(check, l1, (offset, index) => {
    if (offset === 0) return true
    if (!image.isTable(offset)) return false
    if (takeClusters(check, l1, index, offset)) {
      tables.push(offset)
      indexes.push(index)
    }
    return true
  })
  const total = tables.length + 1
  for (const [done, offset] of tables.entries()) {
    check.control.report(done + 1, total)
    const guestOffset = indexes[done]! * l1.coverage
    const target = clusterSize
    await checkTable(check, { structure: 'l2-table', offset, guestOffset, coverage: clusterSize, target })
  }
  check.control.report(total, total)
  // Only a complete scan shows which clusters are not referenced.
  if (report.checkErrors === 0) report.leaks = image.end / clusterSize - headerSize - used.size
  if (report.leaks > 0) await tellLeaks(check)
  return report
}

async function checkTable(check: Check, table: Table): Promise<void> {
  const { image, report } = check
  let expected = 0
  await walk(check, table, (entry, index) => {
    if (entry === 0 || entry === ZERO_CLUSTER) return true
    report.allocatedClusters++
    if (expected !== 0 && entry !== expected) report.fragmentedClusters++
    expected = entry + image.clusterSize
    if (!image.isCluster(entry)) return false
    takeClusters(check, table, index, entry)
    return true
  })
}

/** Goes through the entries of a table. If the check repairs, clears those that `isValid` refuses. */
async function walk(
  check: Check,
  table: Table,
  isValid: (entry: number, index: number) => boolean,
): Promise<void> {
  const { image, report, repairs } = check
  const { tableBytes, file } = image
  check.bytesLeft -= tableBytes
  if (check.bytesLeft < 0)
    throw tooMuch(
      image,
      'the tables have far more entries than the file holds, so they cannot all be checked',
    )
  const bytes = new Uint8Array(Math.min(tableBytes, PIECE))
  const view = viewOf(bytes)
  for (let at = 0; at < tableBytes; at += bytes.length) {
    const held = check.control.checkpoint()
    if (held) await held
    const offset = table.offset + at
    if (!(await works(check, table, 'unreadable-table', offset, file.read(offset, bytes)))) return
    const turning = pause(bytes.length / ENTRY / ENTRIES_OF_UNIT)
    if (turning) await turning
    const broken: BrokenEntry[] = []
    if (isZero(bytes)) check.bytesLeft -= bytes.length
    if (check.bytesLeft < 0) throw tooMuch(image, 'too many tables are empty for a check to go on')
    for (let i = 0; i < bytes.length / ENTRY; i++) {
      const entry = entryAt(view, i)
      const index = at / ENTRY + i
      const before = check.told
      if (!isValid(entry, index)) {
        broken.push({ entry, index })
        if (repairs) setEntry(view, i, 0)
      }
      const turning = check.told > before ? pause() : undefined
      if (turning) await turning
    }
    if (repairs) report.corruptionsFixed += broken.length
    else report.corruptions += broken.length
    const isWritten =
      repairs && broken.length > 0
        ? await works(check, table, 'repair-failed', offset, file.write(offset, bytes))
        : !repairs
    await tellBroken(check, table, broken, repairs && isWritten)
    if (broken.length > 0 && !isWritten) return
  }
}

/**
 * Whether a request for a part of a table succeeds; a failure counts as a check error.
 *
 * @param offset host offset of the part, in bytes
 */
async function works(
  check: Check,
  { structure, offset: start }: Table,
  failure: 'unreadable-table' | 'repair-failed',
  offset: number,
  request: Promise<void>,
): Promise<boolean> {
  try {
    await request
    return true
  } catch {
    const message = `ERROR Could not ${failure === 'repair-failed' ? 'write' : 'read'} ${nameOf(structure)}`
    tell(check, failure, message, { offset, owner: { structure, offset: start } })
    check.report.checkErrors++
    return false
  }
}

/** An entry that refers to what cannot be a table or cluster. */
interface BrokenEntry {
  /** Host offset in bytes; infinite if it is beyond 2^53-1. */
  readonly entry: number
  readonly index: number
}

async function tellBroken(
  check: Check,
  table: Table,
  broken: readonly BrokenEntry[],
  repaired: boolean,
): Promise<void> {
  for (const { entry, index } of broken) {
    const what = wordFor(check.image, table, entry)
    const message = `${repaired ? 'Repairing' : 'ERROR'} ${nameOf(table.structure)} entry ${index}: ${what.replaceAll('-', ' ')}`
    tell(check, what, message, {
      ...(entry < Number.POSITIVE_INFINITY && { offset: entry, bytes: table.target }),
      owner: ownerIn(table, index),
      repaired,
    })
    const turning = pause()
    if (turning) await turning
  }
}

/** What is wrong with an entry. */
function wordFor({ header, clusterSize, end }: Image, { structure }: Table, entry: number): FindingWord {
  if (entry < header.headerSize * clusterSize) return 'reference-into-header'
  if (entry >= end || entry % clusterSize === 0) return 'reference-outside-file'
  return structure === 'l1-table' ? 'unaligned-table' : 'unaligned-cluster'
}

const nameOf = (structure: Table['structure']): string => (structure === 'l1-table' ? 'L1 table' : 'L2 table')

const ownerIn = ({ structure, offset, guestOffset, coverage }: Table, index: number): FindingOwner => ({
  structure,
  offset,
  index,
  guestOffset: guestOffset + index * coverage,
})

/** Tells of each run of clusters that nothing refers to. */
async function tellLeaks(check: Check): Promise<void> {
  const { image, used } = check
  const { clusterSize } = image
  for await (const [first, end] of used.gaps(image.header.headerSize, image.end / clusterSize)) {
    const [offset, bytes] = [first * clusterSize, (end - first) * clusterSize]
    tell(check, 'leaked-cluster', `Leaked clusters ${first} to ${end - 1}`, { offset, bytes })
  }
}

function tell(check: Check, what: FindingWord, message: string, details: FindingDetails): void {
  check.tell(checkFinding(what, message, { ...details, silent: true }))
  check.told++
}

/**
 * Counts references to the clusters at a host offset, of the entry at `index` of `table`.
 *
 * @returns whether they are the first ones
 */
function takeClusters(check: Check, table: Table, index: number, offset: number): boolean {
  const { image, report, used } = check
  const { clusterSize } = image
  let twice = 0
  for (let at = offset; at < offset + table.target; at += clusterSize) {
    if (used.add(at / clusterSize)) continue
    twice++
    const message = `ERROR cluster ${at / clusterSize} is referred to more than once`
    tell(check, 'shared-cluster', message, { offset: at, bytes: clusterSize, owner: ownerIn(table, index) })
  }
  report.corruptions += twice
  return twice === 0
}
