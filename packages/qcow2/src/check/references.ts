/** How often each host cluster is referred to, as a check counts it: refcount blocks in memory, where needed. */
import { BlockError, type CheckReport } from '@vmblock/block-core'
import { MAX_HOST_OFFSET } from '../format/limits.ts'
import type { Image } from '../image.ts'

/** A check under way. */
export interface Check {
  readonly image: Image
  readonly result: CheckReport
  readonly references: References
  /** Corruptions may be repaired. */
  readonly fixErrors: boolean
  readonly fixLeaks: boolean
  /** The refcount structure cannot be repaired in place. */
  rebuild: boolean
  /** Table entries that may still be looked at more than once on behalf of one L1 table. */
  repeatsLeft: number
  /** Differences that may still be found before the image is taken for one that was made to keep a check busy. */
  differencesLeft: number
  report(line: string): void
}

/** Entries that a check looks at again before it gives up: some seconds' worth. */
export const REPEATS = 2 ** 26

/** Differences that a check of any image may find: so many clusters of 64 KiB are 256 GiB. */
const DIFFERENCES = 2 ** 22

/** How many differences may be found: more of them in a file that takes more of its host. */
export async function allowedDifferences({ file, geometry }: Image): Promise<number> {
  const { actualSize = file.size } = await file.node.info()
  return Math.max(DIFFERENCES, (2 * actualSize) / geometry.clusterSize)
}

/** Counts differences. @throws BlockError EIO beyond {@link allowedDifferences} */
export function countDifferences(check: Check, count: number): void {
  check.differencesLeft -= count
  if (check.differencesLeft >= 0) return
  check.report('ERROR: too many refcounts are wrong for a check to go on')
  check.result.checkErrors++
  throw new BlockError('EIO', 'too many refcounts are wrong for a check to go on', {
    node: check.image.settings.nodeName,
  })
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

/** Bytes of a piece of a refcount block: small, for a hostile image may refer to one cluster in each. */
const PIECE = 64
/** Pieces that are taken from memory at a time. */
const SLAB = 1024

/**
 * Counts references, in pieces of blocks of the shape they have on disk, so that a rebuild can write them out.
 * Memory grows with the clusters that are referred to, not with what a header claims.
 */
export class References {
  readonly #image: Image
  /** Pieces by index, as counted from the first cluster. */
  readonly #pieces = new Map<number, Uint8Array>()
  readonly #piecesOfBlock: number
  readonly #entriesOfPiece: number
  /** Where the next pieces come from. */
  #slab = new Uint8Array(0)
  #lastIndex = -1
  #last: Uint8Array | undefined
  /** One more than the highest cluster that belongs to the file or is referred to. */
  clusters: number

  constructor(image: Image) {
    this.#image = image
    this.#piecesOfBlock = image.geometry.clusterSize / PIECE
    this.#entriesOfPiece = (PIECE * 8) / image.geometry.refcountBits
    this.clusters = fileClusters(image)
  }

  /** A copy of the block of that index, if a cluster in its range was ever referred to. */
  block(index: number): Uint8Array | undefined {
    let block: Uint8Array | undefined
    for (let i = 0; i < this.#piecesOfBlock; i++) {
      const piece = this.#pieces.get(index * this.#piecesOfBlock + i)
      if (!piece) continue
      block ??= new Uint8Array(this.#image.geometry.clusterSize)
      block.set(piece, i * PIECE)
    }
    return block
  }
  /** Indexes of all blocks, in order. */
  get blockIndexes(): number[] {
    const indexes = new Set<number>()
    for (const piece of this.#pieces.keys()) indexes.add(Math.floor(piece / this.#piecesOfBlock))
    return [...indexes].sort((a, b) => a - b)
  }

  get(cluster: number): number {
    const piece = this.#find(Math.floor(cluster / this.#entriesOfPiece))
    return piece ? this.#image.refcounts.get(piece, cluster % this.#entriesOfPiece) : 0
  }

  set(cluster: number, value: number): void {
    const index = Math.floor(cluster / this.#entriesOfPiece)
    const piece = this.#find(index) ?? this.#add(index)
    this.#image.refcounts.set(piece, cluster % this.#entriesOfPiece, value)
    if (cluster >= this.clusters) this.clusters = cluster + 1
  }

  /** Neighbours come one after the other: the last piece is remembered. */
  #find(index: number): Uint8Array | undefined {
    if (index === this.#lastIndex) return this.#last
    this.#lastIndex = index
    this.#last = this.#pieces.get(index)
    return this.#last
  }

  #add(index: number): Uint8Array {
    if (this.#slab.length === 0) this.#slab = new Uint8Array(SLAB * PIECE)
    const piece = this.#slab.subarray(0, PIECE)
    this.#slab = this.#slab.subarray(PIECE)
    this.#pieces.set(index, piece)
    this.#lastIndex = index
    this.#last = piece
    return piece
  }

  /** First of `count` clusters that nothing refers to, from `from` on, at the end of the file if need be; marks them. */
  allocate(count: number, from: number): number {
    let found = 0
    let cluster = from
    while (found < count) {
      found = this.get(cluster) === 0 ? found + 1 : 0
      cluster++
    }
    for (let i = cluster - count; i < cluster; i++) this.set(i, 1)
    return cluster - count
  }

  /** Forgets everything: the structures have changed and are counted again. */
  clear(): void {
    this.#pieces.clear()
    this.#lastIndex = -1
    this.#last = undefined
    this.clusters = fileClusters(this.#image)
  }
}

const fileClusters = (image: Image): number => Math.ceil(image.file.size / image.geometry.clusterSize)

/** QEMU's limit on what a check takes on: clusters counted by a C int. */
const MAX_CLUSTERS = 2 ** 31 - 1

/** @throws BlockError EFBIG */
export function refuseHugeFile(image: Image): void {
  if (fileClusters(image) > MAX_CLUSTERS)
    throw new BlockError('EFBIG', 'the image file has too many clusters to be checked', {
      node: image.settings.nodeName,
    })
}

/** Counts one reference to every cluster that [offset, offset + bytes) touches. */
export function countReference(check: Check, offset: number, bytes: number): void {
  const { image, references, result } = check
  const { clusterSize } = image.geometry
  if (bytes <= 0) return
  // The last cluster may be cut short, since nobody has to write all of it.
  if (offset + bytes - image.file.size >= clusterSize) {
    check.report(
      `ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0x${hex(offset)} size 0x${hex(bytes)}`,
    )
    result.corruptions++
    return
  }
  const last = Math.floor((offset + bytes - 1) / clusterSize)
  for (let cluster = Math.floor(offset / clusterSize); cluster <= last; cluster++) {
    const count = references.get(cluster)
    if (count === image.refcounts.max) {
      check.report(`ERROR: overflow cluster offset=0x${hex(cluster * clusterSize)}`)
      check.report(
        'Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy if the image cannot be opened for writing',
      )
      result.corruptions++
      continue
    }
    references.set(cluster, count + 1)
  }
}
