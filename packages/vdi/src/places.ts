/** Which blocks of the data area are in use: one bit for each. */

/** See the head of this file. Places are numbers of blocks of the data area. */
export class Places {
  #bits: Uint8Array
  /** No place below is free. */
  #lowest = 0
  #end = 0

  /** @param count places that there may be; more are added as they are taken */
  constructor(count: number) {
    this.#bits = new Uint8Array(Math.ceil(count / 8))
  }

  /** Behind the last place that is in use. */
  get end(): number {
    return this.#end
  }

  /** Whether a place is in use. */
  has(place: number): boolean {
    return ((this.#bits[Math.floor(place / 8)] ?? 0) & (1 << (place % 8))) !== 0
  }

  /** Takes a place. */
  add(place: number): void {
    const at = Math.floor(place / 8)
    if (at >= this.#bits.length) {
      const longer = new Uint8Array(Math.max(at + 1, this.#bits.length * 2))
      longer.set(this.#bits)
      this.#bits = longer
    }
    this.#bits[at]! |= 1 << (place % 8)
    this.#end = Math.max(this.#end, place + 1)
  }

  /** Takes the lowest free place that is not below `least`. */
  take(least = 0): number {
    let place = Math.max(least, this.#lowest)
    while (this.has(place)) place++
    this.add(place)
    if (least <= this.#lowest) this.#lowest = place + 1
    return place
  }

  /** Gives a place back. */
  free(place: number): void {
    this.#bits[Math.floor(place / 8)]! &= ~(1 << (place % 8))
    this.#lowest = Math.min(this.#lowest, place)
    while (this.#end > 0 && !this.has(this.#end - 1)) this.#end--
  }
}
