/** Counts how often each host cluster is referred to: in memory, in pieces of refcount blocks. */
import { BlockError, type CheckReport } from '@vmblock/block-core'
import { MAX_HOST_OFFSET } from '../format/limits.ts'
import type { Image } from '../image.ts'
import type { HostRange } from '../snapshots.ts'
import type { StoredRefcounts } from './stored-refcounts.ts'

/** A running check. */
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
  report(line: string): void
  /** Takes the reason if the check ends without a result. */
  reportFailure(text: string): void
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
  /** One reference of the table to each of its clusters was counted. */
  isCounted: boolean
}

/** Entries that a check of any image may read without being paid for: this takes some seconds. */
export const ENTRIES = 2 ** 26
/** The cost of reading a table, in entries. */
const READING = 4096

/**
 * Counts a table that is read. A table is paid for if it is not empty and was not read before, since it then
 * takes space in the file; each snapshot may read it once more. Tables in holes, or referenced again and
 * again, would cost time out of proportion to the size of the file.
 *
 * @throws BlockError EIO if too many tables are read without being paid for
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

/** Bytes of a piece of a refcount block: small, because a hostile image may refer to one cluster in each. */
const PIECE = 64
/** Pieces that are allocated at a time. */
const SLAB = 1024

/** Pieces that a check of any image may allocate: 8 MiB, and as much again for their index. */
const PIECES = 2 ** 17

/**
 * How many pieces may be allocated: one for each stored cluster, or as many full ones as hold a count for
 * each table entry that may be stored.
 */
export async function allowedPieces({ file, geometry }: Image): Promise<number> {
  const actualSize = (await file.node.info()).actualSize || file.size
  const entries = (PIECE * 8) / geometry.refcountBits
  return PIECES + Math.max(actualSize / geometry.clusterSize, actualSize / 8 / entries)
}

/**
 * Counts references, in pieces of refcount blocks in disk format, so that a rebuild can write them out.
 * Memory grows with the clusters that are referred to, not with the size that a header claims.
 */
export class References {
  readonly #image: Image
  /** Position of each piece, `slab * SLAB + position in it`, by its index counted from the first cluster. */
  readonly #places = new Map<number, number>()
  /** Indexes of the blocks to which the pieces belong. */
  readonly #blocks = new Set<number>()
  #slabs: Uint8Array[] = []
  readonly #piecesOfBlock: number
  readonly #entriesOfPiece: number
  readonly #allowed: number
  /** Neighbors are counted in sequence: the last piece is remembered. */
  #lastIndex = -1
  #lastPlace: number | undefined
  #highest = 0
  /** A range of clusters that are all known to be referred to. */
  #taken = { start: 0, end: 0 }
  /** One more than the highest cluster that belongs to the file or is referred to. */
  clusters: number

  /** @param allowed see {@link allowedPieces} */
  constructor(image: Image, allowed: number) {
    this.#image = image
    this.#allowed = allowed
    this.#piecesOfBlock = image.geometry.clusterSize / PIECE
    this.#entriesOfPiece = (PIECE * 8) / image.geometry.refcountBits
    this.clusters = fileClusters(image)
  }

  /** A copy of the block of that index, if a cluster in its range was ever referred to. */
  block(index: number): Uint8Array | undefined {
    let block: Uint8Array | undefined
    for (let i = 0; i < this.#piecesOfBlock; i++) {
      const place = this.#places.get(index * this.#piecesOfBlock + i)
      if (place === undefined) continue
      block ??= new Uint8Array(this.#image.geometry.clusterSize)
      const start = (place % SLAB) * PIECE
      block.set(this.#slabOf(place).subarray(start, start + PIECE), i * PIECE)
    }
    return block
  }
  /** Indexes of all blocks, in order. */
  get blockIndexes(): number[] {
    return [...this.#blocks].sort((a, b) => a - b)
  }
  /** The highest count that any cluster has or had. */
  get highest(): number {
    return this.#highest
  }

  get(cluster: number): number {
    const place = this.#find(Math.floor(cluster / this.#entriesOfPiece))
    return place === undefined
      ? 0
      : this.#image.refcounts.get(this.#slabOf(place), this.#entry(place, cluster))
  }

  set(cluster: number, value: number): void {
    const index = Math.floor(cluster / this.#entriesOfPiece)
    const place = this.#find(index) ?? this.#add(index)
    this.#image.refcounts.set(this.#slabOf(place), this.#entry(place, cluster), value)
    if (cluster >= this.clusters) this.clusters = cluster + 1
    if (value > this.#highest) this.#highest = value
  }

  /** Counts one more reference. @returns false if the count is at its maximum */
  increment(cluster: number): boolean {
    const count = this.get(cluster)
    if (count === this.#image.refcounts.max) return false
    this.set(cluster, count + 1)
    return true
  }

  #find(index: number): number | undefined {
    if (index === this.#lastIndex) return this.#lastPlace
    this.#lastIndex = index
    this.#lastPlace = this.#places.get(index)
    return this.#lastPlace
  }

  #add(index: number): number {
    const place = this.#places.size
    if (place >= this.#allowed)
      throw new BlockError('EIO', 'the references are too far apart to be counted', {
        node: this.#image.settings.nodeName,
      })
    if (place % SLAB === 0) this.#slabs.push(new Uint8Array(SLAB * PIECE))
    this.#places.set(index, place)
    this.#blocks.add(Math.floor(index / this.#piecesOfBlock))
    this.#lastIndex = index
    this.#lastPlace = place
    return place
  }

  #slabOf(place: number): Uint8Array {
    return this.#slabs[Math.floor(place / SLAB)]!
  }

  /** Index of a cluster's count in the slab of its piece. */
  #entry(place: number, cluster: number): number {
    return (place % SLAB) * this.#entriesOfPiece + (cluster % this.#entriesOfPiece)
  }

  /**
   * Index of the first of `count` unreferenced clusters in a row, from `from` on, beyond the end of the file
   * if necessary; marks them. Called for single clusters with a growing `from`, it examines each one once.
   */
  allocate(count: number, from: number): number {
    const { start, end } = this.#taken
    const goesOn = from >= start && from <= end
    let cluster = goesOn ? end : from
    let found = 0
    while (found < count) {
      found = this.get(cluster) === 0 ? found + 1 : 0
      cluster++
    }
    for (let i = cluster - count; i < cluster; i++) this.set(i, 1)
    if (count === 1) this.#taken = { start: goesOn ? start : from, end: cluster }
    return cluster - count
  }

  /** Resets all counts: the structures have changed and are counted again. */
  clear(): void {
    this.#places.clear()
    this.#blocks.clear()
    this.#slabs = []
    this.#lastIndex = -1
    this.#lastPlace = undefined
    this.#highest = 0
    this.#taken = { start: 0, end: 0 }
    this.clusters = fileClusters(this.#image)
  }
}

const fileClusters = (image: Image): number => Math.ceil(image.file.size / image.geometry.clusterSize)

/** QEMU's limit on the size of a checked file: clusters are counted in a C int. */
const MAX_CLUSTERS = 2 ** 31 - 1

/** @throws BlockError EFBIG */
export function refuseHugeFile(image: Image): void {
  if (fileClusters(image) > MAX_CLUSTERS)
    throw new BlockError('EFBIG', 'the image file has too many clusters to be checked', {
      node: image.settings.nodeName,
    })
}

/**
 * Counts one reference to every cluster that [offset, offset + bytes) touches.
 *
 * @returns whether all were counted
 */
export function countReference(check: Check, offset: number, bytes: number): boolean {
  const { image, references, result } = check
  const { clusterSize } = image.geometry
  if (bytes <= 0) return true
  // The last cluster may be cut short, since writers need not write all of it.
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
