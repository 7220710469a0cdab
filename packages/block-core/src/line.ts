/** What waits, in order; the first is taken out at the same cost however many there are. */

/** Taken out entries are forgotten at the latest when there are so many, and they are half of all. */
const KEPT = 1024

/** See the head of this file. */
export class Line<T> {
  #entries: T[] = []
  #next = 0

  get isEmpty(): boolean {
    return this.#next === this.#entries.length
  }
  /** The first one, which stays. */
  get first(): T | undefined {
    return this.#entries[this.#next]
  }

  /** Adds one behind the others. */
  add(entry: T): void {
    this.#entries.push(entry)
  }

  /** Takes out the first one. */
  shift(): T | undefined {
    if (this.isEmpty) return undefined
    const entry = this.#entries[this.#next++]
    if (this.isEmpty || (this.#next >= KEPT && 2 * this.#next >= this.#entries.length)) {
      this.#entries = this.#entries.slice(this.#next)
      this.#next = 0
    }
    return entry
  }
}
