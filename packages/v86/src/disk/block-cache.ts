/** The most recently used blocks of a disk, in memory. Their content is always what the guest would read. */

/** A bounded cache of blocks by number. The last block of a disk may be shorter than the others. */
export class BlockCache {
  readonly blockSize: number
  readonly #most: number
  /** In order of last use. */
  readonly #blocks = new Map<number, Uint8Array>()

  /** @param bytes capacity; less than a block: nothing is cached */
  constructor(bytes: number, blockSize: number) {
    this.blockSize = blockSize
    this.#most = Math.floor(bytes / blockSize)
  }

  /** The most bytes the cache holds. */
  get capacity(): number {
    return this.#most * this.blockSize
  }
  /** Bytes in the cache now. */
  get bytes(): number {
    return this.#blocks.size * this.blockSize
  }

  has(block: number): boolean {
    return this.#blocks.has(block)
  }

  /** Returns a block, and counts it as used; undefined if it is not cached. */
  get(block: number): Uint8Array | undefined {
    const bytes = this.#blocks.get(block)
    if (bytes) {
      this.#blocks.delete(block)
      this.#blocks.set(block, bytes)
    }
    return bytes
  }

  /** Caches a copy of a block, in place of the least recently used one. */
  put(block: number, bytes: Uint8Array): void {
    if (this.#most === 0) return
    this.#blocks.delete(block)
    if (this.#blocks.size >= this.#most) {
      const [oldest] = this.#blocks.keys()
      this.#blocks.delete(oldest!)
    }
    // A copy in any case: a view of a large buffer would keep all of it in memory.
    this.#blocks.set(block, bytes.slice())
  }

  /** Updates cached blocks with a write; others are not loaded. */
  patch(offset: number, from: Uint8Array): void {
    this.#overlaps(offset, from.length, (bytes, start) => {
      const skipped = Math.max(offset - start, 0)
      const begin = Math.max(start - offset, 0)
      bytes.set(from.subarray(begin, begin + bytes.length - skipped), skipped)
    })
  }

  /** Drops the blocks that overlap a range. */
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
