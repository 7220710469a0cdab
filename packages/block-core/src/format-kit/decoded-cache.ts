/**
 * Blocks of an image that were decoded, those used last: a guest reads the pieces of a block one after the other, and each
 * would decode all of it again.
 */
import { Mutex } from '../base/mutex.ts'

/** Bytes that are kept unless more is asked for. */
const LIMIT = 2 ** 24
/** Bytes of a block from which on only one is decoded at a time: several would take too much memory. */
const LARGE = 2 ** 22

interface Entry {
  readonly bytes: number
  readonly block: Promise<Uint8Array>
}

/** A cache of decoded blocks. What it gives belongs to it: callers only read. */
export class DecodedCache {
  readonly #limit: number
  /** In the order in which they were used. */
  readonly #entries = new Map<number, Entry>()
  readonly #large = new Mutex()
  #bytes = 0

  /** @param limit bytes that are kept; the block used last is kept even if it is larger */
  constructor(limit = LIMIT) {
    this.#limit = limit
  }

  /** Bytes of the blocks that are kept, or being decoded. */
  get bytes(): number {
    return this.#bytes
  }

  /**
   * The block of a key. It is decoded once, however many ask for it at the same time; a failure is not kept.
   *
   * @param bytes of the decoded block
   * @throws what `decode` throws
   */
  get(key: number, bytes: number, decode: () => Promise<Uint8Array>): Promise<Uint8Array> {
    const known = this.#entries.get(key)
    if (known) {
      this.#entries.delete(key)
      this.#entries.set(key, known)
      return known.block
    }
    this.#makeRoom(bytes)
    const block = bytes < LARGE ? decode() : this.#large.run(decode)
    const entry: Entry = { bytes, block }
    this.#entries.set(key, entry)
    this.#bytes += bytes
    block.catch(() => {
      if (this.#entries.get(key) === entry) this.#remove(key, entry)
    })
    return block
  }

  /** Forgets everything. */
  drop(): void {
    this.#entries.clear()
    this.#bytes = 0
  }

  #makeRoom(bytes: number): void {
    for (const [key, entry] of this.#entries) {
      if (this.#bytes + bytes <= this.#limit) return
      this.#remove(key, entry)
    }
  }

  #remove(key: number, { bytes }: Entry): void {
    this.#entries.delete(key)
    this.#bytes -= bytes
  }
}
