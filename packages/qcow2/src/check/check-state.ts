/** The state of a running check: what it knows and has found, and how much work it may still do. */

import { checkFinding } from '@vmblock/block-core/check'
import {
  BlockError,
  type CheckFinding,
  type CheckReport,
  type FindingDetails,
  type FindingWord,
} from '@vmblock/block-core/driver'
import type { HostRange } from '../format/host-range.ts'
import { MAX_HOST_OFFSET } from '../format/limits.ts'
import type { Image } from '../image/image.ts'
import type { CheckProgress } from './check-progress.ts'
import type { References } from './references.ts'
import type { StoredRefcounts } from './stored-refcounts.ts'
import { placeIn, type Table } from './tables.ts'

/** A running check. */
export interface Check {
  readonly image: Image
  readonly progress: CheckProgress
  readonly result: CheckReport
  readonly references: References
  readonly stored: StoredRefcounts
  /** Corruptions may be repaired. */
  readonly fixErrors: boolean
  readonly fixLeaks: boolean
  /** The refcount structure cannot be repaired in place. */
  rebuild: boolean
  /**
   * Entries that may still be read without being paid for (see {@link countTable}), before the image is taken
   * for one made to keep a check busy.
   */
  entriesLeft: number
  /** The state of the snapshot table. */
  snapshots: CheckedSnapshots
  /** Every entry of the active tables that refers to a cluster has COPIED set. */
  isAllCopied: boolean
  /** Differences that may still be found before the image is taken for one made to keep a check busy. */
  differencesLeft: number
  report(finding: CheckFinding): void
  /** Takes the reason if the check ends without a result. */
  reportFailure(finding: CheckFinding): void
}

/** Reports a finding, which is no leak, and counts it. */
export function found(
  { result, report }: Check,
  what: FindingWord,
  message: string,
  details?: FindingDetails,
): void {
  const finding = checkFinding(what, message, details)
  report(finding)
  result[finding.kind === 'failure' ? 'checkErrors' : 'corruptions']++
}

/** The state of the snapshot table in a check. Counts are of entries. */
export interface CheckedSnapshots {
  readonly count: number
  /** Entries that have an L1 table. */
  readonly withTable: number
  /** The ranges of the file that the table occupies. */
  readonly ranges: readonly HostRange[]
  /** Entries that a repair cut off. */
  readonly cut: number
  /** Broken entries, which are fixed by writing the table anew. */
  readonly broken: number
  /** Indexes of entries whose L1 table cannot exist: a repair drops them. */
  readonly lost: Set<number>
  /** One reference of the table to each of its clusters was counted. */
  isCounted: boolean
}

/** Entries that a check of any image may read without being paid for: this takes some seconds. */
export const ENTRIES = 2 ** 26
/** The cost of a read, in entries. */
const READING = 4096

/**
 * Counts a table that is read. A table is paid for if it is not empty and was not read before, since it then
 * takes space in the file; each snapshot may read it once more. Tables in holes, or referenced again and
 * again, would cost time out of proportion to the size of the file.
 *
 * @param together how many tables were read at once, this one included
 * @throws BlockError EIO if too many tables are read without being paid for
 */
export function countTable(check: Check, entries: number, isPaid: boolean, together = 1): void {
  const cost = entries + READING / together
  if (isPaid) {
    check.entriesLeft += check.snapshots.withTable * cost
    return
  }
  check.entriesLeft -= cost
  if (check.entriesLeft < 0)
    throw tooMuch(check, 'too many tables are empty, or in one place, for a check to go on')
}

/** Ends a check of an image that was made to keep it busy. */
function tooMuch(check: Check, message: string): BlockError {
  found(check, 'check-given-up', `ERROR: ${message}`)
  return new BlockError('EIO', message, { node: check.image.settings.nodeName })
}

/**
 * Entries of a table that are as much work as a small request; after such units the event loop gets its turn.
 */
export const ENTRIES_OF_UNIT = 64

/** Differences that a check of any image may find: that many clusters of 64 KiB are 256 GiB. */
const DIFFERENCES = 2 ** 22

/** How many differences may be found: more in a file that takes more space. */
export async function allowedDifferences({ file, geometry }: Image): Promise<number> {
  const actualSize = (await file.node.info()).actualSize || file.size
  return Math.max(DIFFERENCES, (2 * actualSize) / geometry.clusterSize)
}

/** Counts differences. @throws BlockError EIO beyond {@link allowedDifferences} */
export function countDifferences(check: Check, count: number): void {
  check.differencesLeft -= count
  if (check.differencesLeft >= 0) return
  throw tooMuch(check, 'too many refcounts are wrong for a check to go on')
}

/** An empty result. */
export const emptyReport = (): CheckReport => ({
  corruptions: 0,
  leaks: 0,
  corruptionsFixed: 0,
  leaksFixed: 0,
  checkErrors: 0,
})

/** Offsets and sizes as QEMU prints them. Host offsets have 56 bits; larger ones were rounded when read. */
export const hex = (value: number): string =>
  value < MAX_HOST_OFFSET ? value.toString(16) : `${MAX_HOST_OFFSET.toString(16)} or more`

/** A 64-bit word as QEMU prints it. */
export const hexWord = (hi: number, lo: number): string =>
  hi === 0 ? hex(lo) : hex(hi) + hex(lo).padStart(8, '0')

/**
 * Counts one reference to every cluster that [offset, offset + bytes) touches. The entry at `index` of `table`, or the
 * table itself, refers to it.
 *
 * @returns whether all were counted
 */
export function countReference(
  check: Check,
  offset: number,
  bytes: number,
  table: Table,
  index?: number,
): boolean {
  const { image, references } = check
  const { clusterSize } = image.geometry
  if (bytes <= 0) return true
  // The last cluster may be cut short, since writers need not write all of it.
  if (offset + bytes - image.file.size >= clusterSize) {
    const message = `ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0x${hex(offset)} size 0x${hex(bytes)}`
    found(check, 'reference-outside-file', message, placeIn(table, index, offset, bytes))
    return false
  }
  let isCounted = true
  const last = Math.floor((offset + bytes - 1) / clusterSize)
  for (let cluster = Math.floor(offset / clusterSize); cluster <= last; cluster++) {
    if (!references.increment(cluster)) {
      isCounted = false
      const offset = cluster * clusterSize
      const message = `ERROR: overflow cluster offset=0x${hex(offset)}\nUse qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy if the image cannot be opened for writing`
      found(check, 'refcount-overflow', message, placeIn(table, index, offset, clusterSize))
    }
  }
  return isCounted
}
