/**
 * A disk that is stored as a whole: changes are gathered in memory, and a flush stores them in one
 * transaction. So the stored disk is always in the state of some past moment, however the page ends.
 */
import { isZero } from '../base/bits.ts'
import { Mutex } from '../base/mutex.ts'
import { BlockStore, STORE_BLOCK } from './block-store.ts'

// Both are loaded as one file.
export { BlockStore }

/** Bytes of changes after which they are stored even without a flush, so that memory stays bounded. */
const MAX_CHANGED_BYTES = 16 * 2 ** 20
/** Bytes of unchanged blocks kept in memory. */
const MAX_CLEAN_BYTES = 8 * 2 ** 20

/** The blocks of one store. Offsets and lengths in bytes. */
export class BlockDisk {
  readonly #store: BlockStore
  /** Blocks equal to their stored content; the most recently used is last. */
  readonly #clean = new Map<number, Uint8Array>()
  #changed = new Map<number, Uint8Array>()
  /** Blocks being stored. */
  #storing: ReadonlyMap<number, Uint8Array> = new Map()
  readonly #loading = new Map<number, Promise<void>>()
  readonly #lock = new Mutex()
  /** Whether the last commit was without strict durability, so that it may be lost. */
  #lastMayBeLost = false
  #size: number

  constructor(store: BlockStore) {
    this.#store = store
    this.#size = store.size
  }

  get size(): number {
    return this.#size
  }

  /** Fills `into`; bytes beyond the end read as zeroes. */
  async read(offset: number, into: Uint8Array): Promise<void> {
    const end = offset + into.length
    for (let at = offset; at < end; ) {
      const index = Math.floor(at / STORE_BLOCK)
      const stop = Math.min((index + 1) * STORE_BLOCK, end)
      const block = this.#peek(index) ?? (await this.#load(index, Math.ceil(end / STORE_BLOCK)))
      const from = at - index * STORE_BLOCK
      into.set(block.subarray(from, from + stop - at), at - offset)
      at = stop
    }
    this.#trim()
  }

  /** Makes a change. @throws BlockError ENOSPC, and refuses it, if too many wait that cannot be stored */
  async write(offset: number, from: Uint8Array): Promise<void> {
    const end = offset + from.length
    for (let at = offset; at < end; ) {
      if (this.#changed.size * STORE_BLOCK >= MAX_CHANGED_BYTES) await this.#save(false)
      const index = Math.floor(at / STORE_BLOCK)
      const stop = Math.min((index + 1) * STORE_BLOCK, end)
      const piece = from.subarray(at - offset, stop - offset)
      if (piece.length < STORE_BLOCK && !this.#peek(index)) {
        await this.#load(index, index + 1)
        continue // the block may have been dropped again meanwhile
      }
      this.#change(index).set(piece, at - index * STORE_BLOCK)
      this.#size = Math.max(this.#size, stop)
      at = stop
    }
  }

  async truncate(size: number): Promise<void> {
    if (size < this.#size) {
      const within = size % STORE_BLOCK
      const last = Math.floor(size / STORE_BLOCK)
      // Bytes that are cut off must not reappear when the disk grows again.
      if (within > 0) {
        while (!this.#peek(last)) await this.#load(last, last + 1)
        this.#change(last).fill(0, within)
      }
      const first = Math.ceil(size / STORE_BLOCK)
      for (const blocks of [this.#clean, this.#changed])
        for (const index of blocks.keys()) if (index >= first) blocks.delete(index)
    }
    this.#size = size
    await this.#save(false)
  }

  /** Makes every write that completed before the call durable. */
  async flush(): Promise<void> {
    await this.#save(true)
  }

  #peek(index: number): Uint8Array | undefined {
    const changed = this.#changed.get(index) ?? this.#storing.get(index)
    if (changed) return changed
    const clean = this.#clean.get(index)
    if (!clean) return undefined
    this.#clean.delete(index)
    this.#clean.set(index, clean)
    return clean
  }

  /** Marks a block as changed and returns it; a block that is not in memory starts as zeroes. */
  #change(index: number): Uint8Array {
    const block = this.#peek(index) ?? new Uint8Array(STORE_BLOCK)
    this.#clean.delete(index)
    this.#changed.set(index, block)
    return block
  }

  /** Loads a block, and missing ones after it up to `wanted`. @returns the block's current content */
  async #load(index: number, wanted: number): Promise<Uint8Array> {
    let end = index + 1
    while (end < wanted && end - index < 64 && !this.#peek(end) && !this.#loading.has(end)) end++
    const running = this.#loading.get(index) ?? this.#loadRun(index, end)
    await running
    return this.#peek(index) ?? this.#load(index, index + 1)
  }

  #loadRun(from: number, to: number): Promise<void> {
    const run = async (): Promise<void> => {
      try {
        const blocks = await this.#store.load(from, to)
        for (const [i, content] of blocks.entries())
          if (!this.#peek(from + i)) this.#clean.set(from + i, content ?? new Uint8Array(STORE_BLOCK))
      } finally {
        for (let index = from; index < to; index++) this.#loading.delete(index)
      }
    }
    const running = run()
    for (let index = from; index < to; index++) this.#loading.set(index, running)
    return running
  }

  async #save(durable: boolean): Promise<void> {
    await this.#lock.run(async () => {
      const isNew = this.#changed.size > 0 || this.#size !== this.#store.size
      if (!isNew && !(durable && this.#lastMayBeLost)) return
      const changed = this.#changed
      this.#storing = changed
      this.#changed = new Map()
      const blocks = new Map([...changed].map(([index, block]) => [index, isZero(block) ? undefined : block]))
      try {
        await this.#store.commit({ size: this.#size, blocks, durable })
      } catch (error) {
        // Blocks that were changed again meanwhile share the same memory.
        for (const [index, block] of changed) if (!this.#isCut(index)) this.#changed.set(index, block)
        throw error
      } finally {
        this.#storing = new Map()
      }
      for (const [index, block] of changed)
        if (!this.#changed.has(index) && !this.#isCut(index)) this.#clean.set(index, block)
      this.#lastMayBeLost = !durable
      this.#trim()
    })
  }

  #isCut(index: number): boolean {
    return index * STORE_BLOCK >= this.#size
  }

  #trim(): void {
    for (const index of this.#clean.keys()) {
      if (this.#clean.size * STORE_BLOCK <= MAX_CLEAN_BYTES) return
      this.#clean.delete(index)
    }
  }
}
