/**
 * A set of indexes in which the next one is found in few steps, however many there are and however far apart: over
 * the set lies a smaller one, of the groups that are not empty, and so on.
 */

/** Indexes of a group. */
const GROUP = 64

/** See the head of this file. Indexes are whole numbers from 0. */
export class IndexSet {
  readonly #indexes = new Set<number>()
  /** How many of them each group has that has any. */
  readonly #counts = new Map<number, number>()
  #above: IndexSet | undefined
  #looks = 0

  /** How many members and groups were looked at so far: what finding costs, for tests. */
  get looks(): number {
    return this.#looks + (this.#above?.looks ?? 0)
  }

  /** Adds an index that is not there. */
  add(index: number): void {
    this.#indexes.add(index)
    const group = Math.floor(index / GROUP)
    const count = this.#counts.get(group) ?? 0
    this.#counts.set(group, count + 1)
    if (count > 0) return
    // One group needs none above it.
    if (!this.#above && this.#counts.size > 1) {
      this.#above = new IndexSet()
      for (const other of this.#counts.keys()) this.#above.add(other)
    } else this.#above?.add(group)
  }

  /** Takes away an index that is there. */
  delete(index: number): void {
    this.#indexes.delete(index)
    const group = Math.floor(index / GROUP)
    const count = this.#counts.get(group)!
    if (count > 1) this.#counts.set(group, count - 1)
    else {
      this.#counts.delete(group)
      this.#above?.delete(group)
    }
  }

  /** The first index in [from, to) that is there, or `to`. */
  next(from: number, to: number): number {
    const group = Math.floor(from / GROUP)
    const found = this.#nextIn(group, from, to)
    if (found !== undefined) return found
    const end = Math.ceil(to / GROUP)
    if (group + 1 >= end) return to
    const other = this.#above ? this.#above.next(group + 1, end) : this.#onlyGroup(group + 1, end)
    return other < end ? (this.#nextIn(other, other * GROUP, to) ?? to) : to
  }

  #onlyGroup(from: number, to: number): number {
    const [group = to] = this.#counts.keys()
    return group >= from ? Math.min(group, to) : to
  }

  #nextIn(group: number, from: number, to: number): number | undefined {
    this.#looks++
    if (!this.#counts.has(group)) return undefined
    const stop = Math.min((group + 1) * GROUP, to)
    for (let at = from; at < stop; at++) {
      this.#looks++
      if (this.#indexes.has(at)) return at
    }
    return undefined
  }
}
