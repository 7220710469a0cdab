/**
 * A set of indexes that finds the next member in few steps, however many there are and however far apart:
 * above the set is a set of its non-empty groups, and so on.
 */

/** Indexes per group, and levels of groups: enough for 2^42 indexes. */
const GROUP = 64
const LEVELS = 6

/** See the head of this file. Indexes are whole numbers from 0. */
export class IndexSet {
  readonly #indexes = new Set<number>()
  readonly #groups: IndexSet | undefined
  #looks = 0

  constructor(levels = LEVELS) {
    this.#groups = levels > 0 ? new IndexSet(levels - 1) : undefined
  }

  /** Number of lookups of indexes and groups so far: the cost of searching, for tests. */
  get looks(): number {
    return this.#looks + (this.#groups?.looks ?? 0)
  }

  add(index: number): void {
    if (this.#indexes.has(index)) return
    this.#indexes.add(index)
    this.#groups?.add(Math.floor(index / GROUP))
  }

  delete(index: number): void {
    this.#indexes.delete(index)
    const start = index - (index % GROUP)
    if (this.#groups && this.#find(start, start + GROUP) < 0) this.#groups.delete(start / GROUP)
  }

  /** The first index in [from, to) that is in the set, or `to`. */
  next(from: number, to: number): number {
    const end = this.#groups ? Math.min((Math.floor(from / GROUP) + 1) * GROUP, to) : to
    const found = this.#find(from, end)
    if (found >= 0) return found
    if (!this.#groups || end >= to) return to
    const start = this.#groups.next(end / GROUP, Math.ceil(to / GROUP)) * GROUP
    return start < to ? this.next(start, to) : to
  }

  /** The first index in [from, to) that is in the set, or -1, by checking each. */
  #find(from: number, to: number): number {
    for (let at = from; at < to; at++) {
      this.#looks++
      if (this.#indexes.has(at)) return at
    }
    return -1
  }
}
