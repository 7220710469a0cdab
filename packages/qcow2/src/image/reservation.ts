/**
 * Refcounts raised ahead (`refcount-reserve=N`): when clusters are allocated, the refcounts of the N clusters
 * behind them are raised with theirs, in one write and one flush. The next N allocations find durable
 * refcounts, and cost an eager image as little as a lazy one, which does not need this. A clean close, and
 * whatever else makes the image consistent on disk, releases what is left; a crash leaks it. Everything here
 * runs under the image's lock.
 */

/** The clusters with raised refcounts that are not used yet: [next, end), as indexes of host clusters. */
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

  /** Takes reserved clusters. @returns index of the first; undefined if too few are left */
  take(count: number): number | undefined {
    if (this.count < count) return undefined
    this.#next += count
    return this.#next - count
  }

  /** Adds clusters [first, end), whose refcounts were raised. They follow what is left. */
  add(first: number, end: number): void {
    if (this.count === 0) this.#next = first
    this.#end = end
  }
}
