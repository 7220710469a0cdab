/** Predicts sequential reads: for a reader that continues where it stopped, the window keeps growing. */

/** Decides how far ahead to read. Offsets and lengths in bytes. */
export class ReadAhead {
  readonly #most: number
  #next = -1
  #window = 0

  /** @param most limit of the window; 0: never read ahead */
  constructor(most: number) {
    this.#most = most
  }

  /**
   * Records a request of the guest.
   *
   * @returns the number of bytes after its end to read ahead
   */
  after(offset: number, bytes: number): number {
    const isSequential = offset === this.#next
    this.#next = offset + bytes
    this.#window = isSequential ? Math.min(Math.max(this.#window * 2, bytes * 2), this.#most) : 0
    return this.#window
  }
}
