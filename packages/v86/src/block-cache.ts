/** Blocks of a disk in memory: as many as were used last. What it holds is always what the guest would read. */

/** A bounded cache of blocks by number. The last block of a disk may be shorter than the others. */
export class BlockCache {
  readonly blockSize: number
  readonly #most: number
  /** In the order of their last use. */
  readonly #blocks = new Map<number, Uint8Array>()

  /** @param bytes how much it may hold; less than a block: nothing */
  constructor(bytes: number, blockSize: number) {
    this.blockSize = blockSize
    this.#most = Math.floor(bytes / blockSize)
  }

  /** The most bytes it holds. */
  get capacity(): number {
    return this.#most * this.blockSize
  }
  /** Bytes it holds now. */
  get bytes(): number {
    return this.#blocks.size * this.blockSize
  }

  has(block: number): boolean {
    return this.#blocks.has(block)
  }

  /** The block, which counts as used; undefined if it is not here. */
  get(block: number): Uint8Array | undefined {
    const bytes = this.#blocks.get(block)
    if (bytes) {
      this.#blocks.delete(block)
      this.#blocks.set(block, bytes)
    }
    return bytes
  }

  /** Puts a copy of a block in, for the one that was not used for the longest time. */
  put(block: number, bytes: Uint8Array): void {
    if (this.#most === 0) return
    this.#blocks.delete(block)
    if (this.#blocks.size >= this.#most) {
      const [oldest] = this.#blocks.keys()
      this.#blocks.delete(oldest!)
    }
    // A copy also where the caller would not mind: a part of a large buffer would keep all of it in memory.
    this.#blocks.set(block, bytes.slice())
  }

  /** Brings blocks that are here up to date with a write; what is not here stays away. */
  patch(offset: number, from: Uint8Array): void {
    this.#overlaps(offset, from.length, (bytes, start) => {
      const skipped = Math.max(offset - start, 0)
      const begin = Math.max(start - offset, 0)
      bytes.set(from.subarray(begin, begin + bytes.length - skipped), skipped)
    })
  }

  /** Forgets the blocks that overlap a range. */
  drop(offset: number, bytes: number): void {
    this.#overlaps(offset, bytes, (_, start) => this.#blocks.delete(start / this.blockSize))
  }

  clear(): void {
    this.#blocks.clear()
  }

  #overlaps(offset: number, bytes: number, visit: (block: Uint8Array, start: number) => void): void {
    const { blockSize } = this
    const first = Math.floor(offset / blockSize)
    const end = Math.ceil((offset + bytes) / blockSize)
    // A discard may be as large as the disk.
    if (end - first > this.#blocks.size) {
      for (const [block, content] of [...this.#blocks])
        if (block >= first && block < end) visit(content, block * blockSize)
      return
    }
    for (let block = first; block < end; block++) {
      const content = this.#blocks.get(block)
      if (content) visit(content, block * blockSize)
    }
  }
}
