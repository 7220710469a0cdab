/** Where an image file is in use, by its refcounts. Runs under the image's lock, and in time of the refcount blocks. */
import { divUp, pause } from '@vmblock/block-core/driver'
import type { Image } from '../image/image.ts'
import { ensureRefblocks } from '../refcounts/refcount-growth.ts'
import {
  addToRefcounts,
  findFree,
  readSlice,
  refblockIndexOf,
  refcountTableEntries,
  sliceEntries,
} from '../refcounts/refcounts.ts'
import { ScanBudget } from '../refcounts/scan-budget.ts'
import { needsRepair } from './roots.ts'

/** Clusters that the file has, the last one perhaps in part. */
export const fileClusters = ({ file, geometry }: Image): number => divUp(file.size, geometry.clusterSize)

/** Entries that are looked at before other code gets its turn: about as long as a request. */
const ENTRIES_OF_TURN = 64

/** The slices of refcounts of [first, end), ascending or descending; those that do not exist are left out. */
async function* slicesOf(
  image: Image,
  first: number,
  end: number,
  descending = false,
): AsyncGenerator<{ readonly start: number; readonly stop: number; readonly bytes: Uint8Array }> {
  const entries = sliceEntries(image)
  const { refblockEntries } = image.geometry
  const limit = Math.min(end, refcountTableEntries(image) * refblockEntries)
  const budget = new ScanBudget(image)
  for (let at = descending ? limit - 1 : first; descending ? at >= first : at < limit; ) {
    const slice = Math.floor(at / entries)
    const bytes = await readSlice(image, at)
    if (!bytes) {
      const block = refblockIndexOf(image, at)
      at = descending ? block * refblockEntries - 1 : (block + 1) * refblockEntries
      continue
    }
    if (budget.spend(image.refblocks.sliceSize) && !(await budget.extend()))
      throw needsRepair(image, 'more refcounts are in use than the file can hold')
    const turning = pause(entries / ENTRIES_OF_TURN)
    if (turning) await turning
    const start = Math.max(first, slice * entries)
    const stop = Math.min(limit, (slice + 1) * entries)
    yield { start, stop, bytes }
    at = descending ? start - 1 : stop
  }
}

/** How many clusters of [first, end) are in use. */
export async function countUsed(image: Image, first: number, end: number): Promise<number> {
  const { refcounts } = image
  const entries = sliceEntries(image)
  let used = 0
  for await (const { start, stop, bytes } of slicesOf(image, first, end))
    for (let at = start; at < stop; at++) if (refcounts.get(bytes, at % entries) !== 0) used++
  return used
}

/** The last clusters in use of [first, end), at most `most` of them, ascending. */
export async function lastUsed(
  image: Image,
  first: number,
  end: number,
  most: number,
): Promise<Float64Array> {
  const { refcounts } = image
  const entries = sliceEntries(image)
  const found: number[] = []
  for await (const { start, stop, bytes } of slicesOf(image, first, end, true)) {
    for (let at = stop - 1; at >= start && found.length < most; at--)
      if (refcounts.get(bytes, at % entries) !== 0) found.push(at)
    if (found.length === most) break
  }
  return Float64Array.from(found).reverse()
}

/** The range in which targets are, in clusters: as long as a set of 8 MiB. */
const RANGE = 2 ** 26

/**
 * Clusters that count as free, and are about to be used. If a table refers to one of them, the refcounts are wrong, and
 * using it would overwrite data.
 */
export class Targets {
  readonly #first: number
  readonly #end: number
  readonly #bits: Uint8Array

  private constructor(first: number, end: number) {
    this.#first = first
    this.#end = end
    this.#bits = new Uint8Array(divUp(Math.max(end - first, 0), 8))
  }

  /** The lowest free clusters of [0, end), about `most` of them. */
  static async find(image: Image, end: number, most: number): Promise<Targets> {
    const { refcounts } = image
    const entries = sliceEntries(image)
    const free: number[] = []
    let next = 0
    const add = (from: number, to: number): void => {
      for (let at = from; at < to && free.length < most && at - (free[0] ?? at) < RANGE; at++) free.push(at)
    }
    for await (const { start, stop, bytes } of slicesOf(image, 0, end)) {
      // Ranges without a block are free.
      add(next, start)
      for (let at = start; at < stop; at++) if (refcounts.get(bytes, at % entries) === 0) add(at, at + 1)
      next = stop
      if (free.length >= most || stop - (free[0] ?? stop) >= RANGE) break
    }
    if (next < end) add(next, end)
    const targets = new Targets(free[0] ?? 0, (free[free.length - 1] ?? -1) + 1)
    for (const at of free) targets.#bits[(at - targets.#first) >>> 3]! |= 1 << ((at - targets.#first) & 7)
    return targets
  }

  has(cluster: number): boolean {
    if (cluster < this.#first || cluster >= this.#end) return false
    const at = cluster - this.#first
    return (this.#bits[at >>> 3]! & (1 << (at & 7))) !== 0
  }

  /** Whether all of a run of clusters are among them. */
  hasAll(first: number, count: number): boolean {
    for (let at = first; at < first + count; at++) if (!this.has(at)) return false
    return true
  }
}

/**
 * Takes the first `count` free clusters in a row, with refcount 1 in the cache, if they end before `limit`.
 *
 * @returns index of the first one; undefined if there are none
 * @throws BlockError EIO if metadata is there, or the error of the file
 */
export async function takeBelow(image: Image, count: number, limit: number): Promise<number | undefined> {
  const { clusterSize } = image.geometry
  for (;;) {
    const first = await findFree(image, count)
    if (first + count > limit) {
      image.freeHint.noteFree(first)
      return undefined
    }
    if (await ensureRefblocks(image, first, count)) {
      image.freeHint.noteFree(first)
      continue
    }
    await addToRefcounts(image, first, count, 1)
    image.fileLength.claim(first * clusterSize, count * clusterSize)
    await image.overlaps.guard(first * clusterSize, count * clusterSize)
    return first
  }
}
