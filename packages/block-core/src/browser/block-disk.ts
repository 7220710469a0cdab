/**
 * A disk that is written as a whole: changes are gathered in memory, and a flush makes them one transaction. So what
 * is stored is always the disk as it was at some moment, however the page ends.
 */
import { isZero } from '../bits.ts'
import { Mutex } from '../mutex.ts'
import { type BlockStore, STORE_BLOCK } from './block-store.ts'

/** Bytes of changes after which they are stored, flush or not: memory stays bounded. */
const MOST_CHANGED = 16 * 2 ** 20
/** Bytes of unchanged blocks that are kept. */
const MOST_CLEAN = 8 * 2 ** 20

/** The blocks of one store. Offsets and lengths in bytes. */
export class BlockDisk {
  readonly #store: BlockStore
  /** Stored as they are; the one used last is last. */
  readonly #clean = new Map<number, Uint8Array>()
  #changed = new Map<number, Uint8Array>()
  /** On their way to the store. */
  #storing: ReadonlyMap<number, Uint8Array> = new Map()
  readonly #loading = new Map<number, Promise<void>>()
  readonly #lock = new Mutex()
  /** Something was stored that the browser may not have told the disk to keep. */
  #isUnsettled = false
  #size: number

  constructor(store: BlockStore) {
    this.#store = store
    this.#size = store.size
  }

  get size(): number {
    return this.#size
  }

  /** Fills `into`; what lies beyond the end reads as zeroes. */
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

  /** Takes a change. @throws BlockError ENOSPC when too many wait that cannot be stored: this one is not taken */
  async write(offset: number, from: Uint8Array): Promise<void> {
    const end = offset + from.length
    for (let at = offset; at < end; ) {
      if (this.#changed.size * STORE_BLOCK >= MOST_CHANGED) await this.#save(false)
      const index = Math.floor(at / STORE_BLOCK)
      const stop = Math.min((index + 1) * STORE_BLOCK, end)
      const piece = from.subarray(at - offset, stop - offset)
      if (piece.length < STORE_BLOCK && !this.#peek(index)) {
        await this.#load(index, index + 1)
        continue // it may have been dropped again meanwhile
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
      // What is cut off must not come back when the disk grows again.
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

  /** Makes everything durable whose write completed before the call. */
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

  /** The block, from now on changed; new where its content does not matter. */
  #change(index: number): Uint8Array {
    const block = this.#peek(index) ?? new Uint8Array(STORE_BLOCK)
    this.#clean.delete(index)
    this.#changed.set(index, block)
    return block
  }

  /** Loads a block, and those behind it that are wanted too and are not there. @returns the block as it is now */
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
      if (!isNew && !(durable && this.#isUnsettled)) return
      const changed = this.#changed
      this.#storing = changed
      this.#changed = new Map()
      const blocks = new Map([...changed].map(([index, block]) => [index, isZero(block) ? undefined : block]))
      try {
        await this.#store.commit({ size: this.#size, blocks, durable })
      } catch (error) {
        // What was changed again meanwhile is the same memory.
        for (const [index, block] of changed) if (!this.#isCut(index)) this.#changed.set(index, block)
        throw error
      } finally {
        this.#storing = new Map()
      }
      for (const [index, block] of changed)
        if (!this.#changed.has(index) && !this.#isCut(index)) this.#clean.set(index, block)
      this.#isUnsettled = !durable
      this.#trim()
    })
  }

  #isCut(index: number): boolean {
    return index * STORE_BLOCK >= this.#size
  }

  #trim(): void {
    for (const index of this.#clean.keys()) {
      if (this.#clean.size * STORE_BLOCK <= MOST_CLEAN) return
      this.#clean.delete(index)
    }
  }
}
