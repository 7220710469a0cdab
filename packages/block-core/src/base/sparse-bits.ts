/** A set of indexes that takes memory only where it has members: bits in blocks, which are made on demand. */

/** Bits of a block. */
const BLOCK = 32_768

/** See the head of this file. Indexes are whole numbers from 0. */
export class SparseBits {
  readonly #blocks = new Map<number, Uint8Array>()

  has(index: number): boolean {
    const bit = index % BLOCK
    return (((this.#blocks.get((index - bit) / BLOCK)?.[bit >> 3] ?? 0) >> (bit & 7)) & 1) === 1
  }

  add(index: number): void {
    const bit = index % BLOCK
    const key = (index - bit) / BLOCK
    let block = this.#blocks.get(key)
    if (!block) {
      block = new Uint8Array(BLOCK / 8)
      this.#blocks.set(key, block)
    }
    block[bit >> 3]! |= 1 << (bit & 7)
  }

  delete(index: number): void {
    const bit = index % BLOCK
    const block = this.#blocks.get((index - bit) / BLOCK)
    if (block) block[bit >> 3]! &= ~(1 << (bit & 7))
  }
}
