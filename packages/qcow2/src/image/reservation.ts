/**
 * Refcounts raised ahead (`refcount-reserve=N`): together with those of a cluster that is taken go those of the N
 * clusters behind it, in one write and one flush. The next N allocations find their refcounts durable, and cost an
 * eager image what they cost a lazy one, which has no use for this. What is left over is released by a clean close,
 * and by everything else that settles the image; a crash leaks it. Everything here runs under the image's lock.
 */

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
