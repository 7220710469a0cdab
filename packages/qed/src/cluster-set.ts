/** The clusters to which a check has found references, as bits; and what bounds the work of a check. */
import { BlockError, pause } from '@vmblock/block-core/driver'
import type { Image } from './image.ts'
import { ENTRY } from './lookup.ts'

/** Entries that are as much work as a small request; after such units the event loop gets its turn. */
export const ENTRIES_OF_UNIT = 64

/** Ends a check of an image that was made to keep it busy. */
export const tooMuch = (image: Image, message: string): BlockError =>
  new BlockError('EIO', message, { node: image.nodeName })

/** Bytes of a page of a set: small, because a hostile image may refer to one cluster in each. */
const PAGE = 64
/** Pages that a check of any image may allocate: 8 MiB, and as much again for their index. */
const PAGES = 2 ** 17

/**
 * How many pages may be allocated: one for each stored cluster, or as many full ones as hold a bit for each
 * table entry that may be stored.
 */
export async function allowedPages({ file, clusterSize }: Image): Promise<number> {
  const actualSize = (await file.node.info()).actualSize || file.size
  return PAGES + Math.max(actualSize / clusterSize, actualSize / ENTRY / (8 * PAGE))
}

/** A set of cluster numbers, which takes memory only for the parts of a file that are in use. */
export class ClusterSet {
  readonly #pages = new Map<number, Uint8Array>()
  readonly #image: Image
  readonly #allowed: number
  size = 0

  /** @param allowed pages */
  constructor(image: Image, allowed: number) {
    this.#image = image
    this.#allowed = allowed
  }

  /**
   * @returns whether the cluster is new in the set. @throws BlockError EIO if the set would become too large
   */
  add(cluster: number): boolean {
    const bit = cluster % 8
    const byte = (cluster - bit) / 8
    const at = byte % PAGE
    const bits = this.#page((byte - at) / PAGE)
    if (((bits[at]! >> bit) & 1) !== 0) return false
    bits[at]! |= 1 << bit
    this.size++
    return true
  }

  /** The runs of clusters in [from, end) that are not in the set: the first of each, and the one behind it. */
  async *gaps(from: number, end: number): AsyncGenerator<readonly [first: number, end: number]> {
    let next = from
    for (const index of [...this.#pages.keys()].sort((a, b) => a - b)) {
      const page = this.#pages.get(index)!
      for (let i = 0; i < PAGE * 8; i++) {
        if (((page[i >> 3]! >> (i & 7)) & 1) === 0) continue
        const cluster = index * PAGE * 8 + i
        if (cluster > next) yield [next, cluster]
        next = cluster + 1
      }
      const turning = pause((PAGE * 8) / ENTRIES_OF_UNIT)
      if (turning) await turning
    }
    if (end > next) yield [next, end]
  }

  #page(index: number): Uint8Array {
    const present = this.#pages.get(index)
    if (present) return present
    if (this.#pages.size >= this.#allowed)
      throw tooMuch(this.#image, 'the clusters in use are too far apart to be counted')
    const page = new Uint8Array(PAGE)
    this.#pages.set(index, page)
    return page
  }
}
