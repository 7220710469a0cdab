/** How often each host cluster is referred to, as a check counts it: refcount blocks in memory, where needed. */
import { BlockError } from '@vmblock/block-core'
import type { Image } from '../image/image.ts'

/** Bytes of a piece of a refcount block: small, for a hostile image may refer to one cluster in each. */
const PIECE = 64
/** Pieces that are taken from memory at a time. */
const SLAB = 1024

/** Pieces that a check of any image may take: 8 MiB, and as much again for finding them. */
const PIECES = 2 ** 17

/** How many pieces may be taken: one for each cluster that is stored, or full ones for each entry that may be. */
export async function allowedPieces({ file, geometry }: Image): Promise<number> {
  const actualSize = (await file.node.info()).actualSize || file.size
  const entries = (PIECE * 8) / geometry.refcountBits
  return PIECES + Math.max(actualSize / geometry.clusterSize, actualSize / 8 / entries)
}

/**
 * Counts references, in pieces of blocks of the shape they have on disk, so that a rebuild can write them out.
 * Memory grows with the clusters that are referred to, not with what a header claims.
 */
export class References {
  readonly #image: Image
  /** Where each piece is, by its index as counted from the first cluster: `slab * SLAB + place in it`. */
  readonly #places = new Map<number, number>()
  /** Indexes of the blocks that the pieces are of. */
  readonly #blocks = new Set<number>()
  #slabs: Uint8Array[] = []
  readonly #piecesOfBlock: number
  readonly #entriesOfPiece: number
  readonly #allowed: number
  /** Neighbours come one after the other: the last piece is remembered. */
  #lastIndex = -1
  #lastPlace: number | undefined
  #highest = 0
  /** Clusters that are known to be referred to, every one. */
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
  /** The highest count that a cluster has, or had. */
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

  /** Counts one more reference. @returns whether there was room for it */
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
   * First of `count` clusters that nothing refers to, from `from` on, at the end of the file if need be; marks them.
   * Called for one cluster with a growing `from`, it looks at each cluster once.
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

  /** Forgets everything: the structures have changed and are counted again. */
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

/** QEMU's limit on what a check takes on: clusters counted by a C int. */
const MAX_CLUSTERS = 2 ** 31 - 1

/** @throws BlockError EFBIG */
export function refuseHugeFile(image: Image): void {
  if (fileClusters(image) > MAX_CLUSTERS)
    throw new BlockError('EFBIG', 'the image file has too many clusters to be checked', {
      node: image.settings.nodeName,
    })
}
