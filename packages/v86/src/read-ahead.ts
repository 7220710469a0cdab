/** Guesses what will be read next: a reader that goes on where it stopped is followed, further with every request. */

/** Decides how far ahead to read. Offsets and lengths in bytes. */
export class ReadAhead {
  readonly #most: number
  #next = -1
  #window = 0

  /** @param most the longest way ahead; 0: never */
  constructor(most: number) {
    this.#most = most
  }

  /**
   * Told of a request of the guest.
   *
   * @returns how much behind its end should be in memory soon
   */
  after(offset: number, bytes: number): number {
    const goesOn = offset === this.#next
    this.#next = offset + bytes
    this.#window = goesOn ? Math.min(Math.max(this.#window * 2, bytes * 2), this.#most) : 0
    return this.#window
  }
}
