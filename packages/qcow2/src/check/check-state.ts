/** A check under way: what it knows and has found, and how much of it may still be done. */
import { BlockError, type CheckReport } from '@vmblock/block-core'
import { MAX_HOST_OFFSET } from '../format/limits.ts'
import type { HostRange } from '../format/places.ts'
import type { Image } from '../image/image.ts'
import type { References } from './references.ts'
import type { StoredRefcounts } from './stored-refcounts.ts'

/** A check under way. */
export interface Check {
  readonly image: Image
  readonly result: CheckReport
  readonly references: References
  readonly stored: StoredRefcounts
  /** Corruptions may be repaired. */
  readonly fixErrors: boolean
  readonly fixLeaks: boolean
  /** The refcount structure cannot be repaired in place. */
  rebuild: boolean
  /** Entries that may still be looked at for nothing before the image is taken for one made to keep a check busy. */
  entriesLeft: number
  /** What is known of the table of snapshots. */
  snapshots: CheckedSnapshots
  /** Every entry of the active tables that refers to a cluster has COPIED set. */
  isAllCopied: boolean
  /** Differences that may still be found before the image is taken for one that was made to keep a check busy. */
  differencesLeft: number
  report(line: string): void
  /** Takes why the check ends without a result. */
  reportFailure(text: string): void
}

/** What a check knows of the table of snapshots. Counts are of entries. */
export interface CheckedSnapshots {
  readonly count: number
  /** Those that have an L1 table. */
  readonly withTable: number
  /** What the table occupies in the file. */
  readonly ranges: readonly HostRange[]
  /** Entries that a repair cut off. */
  readonly cut: number
  /** Entries that are not as they should be, and are made so by writing the table anew. */
  readonly broken: number
  /** One reference of the table to each of its clusters was counted. */
  isCounted: boolean
}

/** Entries that a check of any image may look at for nothing: some seconds' worth. */
export const ENTRIES = 2 ** 26
/** What reading a table costs, in entries. */
const READING = 4096

/**
 * Counts a table that is looked at. One that holds something, and was not looked at before, takes its place in the file,
 * and each snapshot may look at it once more. Tables that lie in holes, or are named again and again, cost time that
 * nobody paid for.
 *
 * @throws BlockError EIO when those are too many
 */
export function countTable(check: Check, entries: number, isPaid: boolean): void {
  const cost = entries + READING
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
  check.report(`ERROR: ${message}`)
  check.result.checkErrors++
  return new BlockError('EIO', message, { node: check.image.settings.nodeName })
}

/** So many entries of a table are as much work as a small request, by which the event loop gets its turns. */
export const ENTRIES_OF_UNIT = 64

/** Differences that a check of any image may find: so many clusters of 64 KiB are 256 GiB. */
const DIFFERENCES = 2 ** 22

/** How many differences may be found: more of them in a file that takes more of its host. */
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

/** Offsets and sizes as QEMU prints them. Host offsets have 56 bits; what is beyond was rounded when it was read. */
export const hex = (value: number): string =>
  value < MAX_HOST_OFFSET ? value.toString(16) : `${MAX_HOST_OFFSET.toString(16)} or more`

/** A 64-bit word as QEMU prints it. */
export const hexWord = (hi: number, lo: number): string =>
  hi === 0 ? hex(lo) : hex(hi) + hex(lo).padStart(8, '0')

/** Counts one reference to every cluster that [offset, offset + bytes) touches. @returns whether each was counted */
export function countReference(check: Check, offset: number, bytes: number): boolean {
  const { image, references, result } = check
  const { clusterSize } = image.geometry
  if (bytes <= 0) return true
  // The last cluster may be cut short, since nobody has to write all of it.
  if (offset + bytes - image.file.size >= clusterSize) {
    check.report(
      `ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0x${hex(offset)} size 0x${hex(bytes)}`,
    )
    result.corruptions++
    return false
  }
  let isCounted = true
  const last = Math.floor((offset + bytes - 1) / clusterSize)
  for (let cluster = Math.floor(offset / clusterSize); cluster <= last; cluster++) {
    if (!references.increment(cluster)) {
      isCounted = false
      check.report(`ERROR: overflow cluster offset=0x${hex(cluster * clusterSize)}`)
      check.report(
        'Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy if the image cannot be opened for writing',
      )
      result.corruptions++
    }
  }
  return isCounted
}
