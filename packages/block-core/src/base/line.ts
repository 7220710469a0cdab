/** A queue: taking out the first entry costs the same however many there are. */

/** The array is compacted once this many entries were taken out, and they are at least half of all. */
const KEPT = 1024

/** See the head of this file. */
export class Line<T> {
  #entries: T[] = []
  #next = 0

  get isEmpty(): boolean {
    return this.#next === this.#entries.length
  }
  /** The first entry, which stays. */
  get first(): T | undefined {
    return this.#entries[this.#next]
  }

  /** Adds an entry at the end. */
  add(entry: T): void {
    this.#entries.push(entry)
  }

  /** Takes out the first entry. */
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
