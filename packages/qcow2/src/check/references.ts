/** Counts how often each host cluster is referred to: in memory, in pieces of refcount blocks. */
import { BlockError } from '@vmblock/block-core/driver'
import type { Image } from '../image/image.ts'

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
  readonly #slots = new Map<number, number>()
  /** Indexes of the blocks to which the pieces belong. */
  readonly #blocks = new Set<number>()
  #slabs: Uint8Array[] = []
  readonly #piecesOfBlock: number
  readonly #entriesOfPiece: number
  readonly #allowed: number
  /** Neighbors are counted in sequence: the last piece is remembered. */
  #lastIndex = -1
  #lastSlot: number | undefined
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
      const slot = this.#slots.get(index * this.#piecesOfBlock + i)
      if (slot === undefined) continue
      block ??= new Uint8Array(this.#image.geometry.clusterSize)
      const start = (slot % SLAB) * PIECE
      block.set(this.#slabOf(slot).subarray(start, start + PIECE), i * PIECE)
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
    const slot = this.#find(Math.floor(cluster / this.#entriesOfPiece))
    return slot === undefined ? 0 : this.#image.refcounts.get(this.#slabOf(slot), this.#entry(slot, cluster))
  }

  set(cluster: number, value: number): void {
    const index = Math.floor(cluster / this.#entriesOfPiece)
    const slot = this.#find(index) ?? this.#add(index)
    this.#image.refcounts.set(this.#slabOf(slot), this.#entry(slot, cluster), value)
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
    if (index === this.#lastIndex) return this.#lastSlot
    this.#lastIndex = index
    this.#lastSlot = this.#slots.get(index)
    return this.#lastSlot
  }

  #add(index: number): number {
    const slot = this.#slots.size
    if (slot >= this.#allowed)
      throw new BlockError('EIO', 'the references are too far apart to be counted', {
        node: this.#image.settings.nodeName,
      })
    if (slot % SLAB === 0) this.#slabs.push(new Uint8Array(SLAB * PIECE))
    this.#slots.set(index, slot)
    this.#blocks.add(Math.floor(index / this.#piecesOfBlock))
    this.#lastIndex = index
    this.#lastSlot = slot
    return slot
  }

  #slabOf(slot: number): Uint8Array {
    return this.#slabs[Math.floor(slot / SLAB)]!
  }

  /** Index of a cluster's count in the slab of its piece. */
  #entry(slot: number, cluster: number): number {
    return (slot % SLAB) * this.#entriesOfPiece + (cluster % this.#entriesOfPiece)
  }

  /**
   * Index of the first of `count` unreferenced clusters in a row, from `from` on, beyond the end of the file
   * if necessary; marks them. Called for single clusters with a growing `from`, it examines each one once.
   */
  allocate(count: number, from: number): number {
    const { start, end } = this.#taken
    const continues = from >= start && from <= end
    let cluster = continues ? end : from
    let found = 0
    while (found < count) {
      found = this.get(cluster) === 0 ? found + 1 : 0
      cluster++
    }
    for (let i = cluster - count; i < cluster; i++) this.set(i, 1)
    if (count === 1) this.#taken = { start: continues ? start : from, end: cluster }
    return cluster - count
  }

  /** Resets all counts: the structures have changed and are counted again. */
  clear(): void {
    this.#slots.clear()
    this.#blocks.clear()
    this.#slabs = []
    this.#lastIndex = -1
    this.#lastSlot = undefined
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
