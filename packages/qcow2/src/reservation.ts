/**
 * Refcounts raised ahead (`refcount-reserve=N`): together with those of a cluster that is taken go those of the N
 * clusters behind it, in one write and one flush. The next N allocations find their refcounts durable, and cost an
 * eager image what they cost a lazy one, which has no use for this. What is left over is released by a clean close,
 * and by everything else that settles the image; a crash leaks it. Everything here runs under the image's lock.
 */
import type { Image } from './image.ts'
import { addToRefcounts, getRefcount, takeFree } from './refcounts.ts'

/** The clusters that have their refcounts and no use yet: [next, end), as indexes of host clusters. */
export class Reservation {
  #next = 0
  #end = 0

  /** Clusters that a crash would leak now. */
  get count(): number {
    return this.#end - this.#next
  }
  /** The cluster behind the last one. */
  get end(): number {
    return this.#end
  }

  /** Takes reserved clusters. @returns index of the first; undefined where there are not so many */
  take(count: number): number | undefined {
    if (this.count < count) return undefined
    this.#next += count
    return this.#next - count
  }

  /** Clusters [first, end) were taken: they join what is left, which they follow. */
  add(first: number, end: number): void {
    if (this.count === 0) this.#next = first
    this.#end = end
  }
}

/**
 * Takes `count` clusters: reserved ones, else with those behind them, which are reserved from now on, at most to the
 * end of a slice of refcounts. The file is made to reach over them: then nothing but the refcounts has to be durable
 * before an L2 entry points at one.
 *
 * @returns index of the first one; undefined where the first free ones are not in the first slice that has any
 */
export async function takeAhead(image: Image, count: number): Promise<number | undefined> {
  const { reservation } = image
  const reserved = reservation.take(count)
  if (reserved !== undefined) return reserved
  await getRefcount(image, image.freeHint)
  const left = reservation.count
  // What is left, and does not go on behind its end, waits for a shorter request.
  if (left > 0 && image.freeHint !== reservation.end) return undefined
  const first = takeFree(image, count - left, image.settings.refcountReserve, left > 0)
  if (first === undefined) return undefined
  reservation.add(first, image.freeHint)
  await image.reachFile(reservation.end * image.geometry.clusterSize)
  return reservation.take(count)
}

/** Gives back what is reserved. Refcounts are lowered in the cache: the caller writes it back. */
export async function releaseReserved(image: Image): Promise<void> {
  const { count } = image.reservation
  const first = image.reservation.take(count)
  if (count > 0) await addToRefcounts(image, first!, count, -1)
  if (!image.dirty) await image.trimFile()
}
