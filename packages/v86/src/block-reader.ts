/**
 * Reads through the cache: what is there is given at once, what is missing is fetched in whole blocks, and a reader that goes
 * on is read ahead of. A write makes every fetch of its blocks that is on its way too old to be kept.
 */
import { BlockError, isBlockError } from '@vmblock/block-core'
import { BlockCache } from './block-cache.ts'
import { ReadAhead } from './read-ahead.ts'

/** Failures that have nothing to do with the place that was read: asking for less of it would only take as long again. */
const ANYWHERE: ReadonlySet<string> = new Set(['ETIMEDOUT', 'ECANCELED', 'EACCES', 'ENOENT', 'ENOMEDIUM'])

/** What is below: the image, behind the writes that are on their way to it. */
export interface ReadSource {
  /** Bytes. */
  readonly size: number
  read(offset: number, into: Uint8Array): Promise<void>
  /** When the writes of a range that were asked for before are done; undefined: now. */
  behind(offset: number, bytes: number): Promise<void> | undefined
}

/** How much is kept, in bytes. */
export interface ReaderLimits {
  readonly cacheSize: number
  readonly blockSize: number
  readonly readAhead: number
}

/** Neighbouring blocks that are being read. */
interface Fetch {
  readonly first: number
  readonly data: Uint8Array
  done: Promise<void>
}

/** See the head of this file. Offsets and lengths in bytes, of any alignment. */
export class BlockReader {
  readonly #source: ReadSource
  readonly #cache: BlockCache
  readonly #ahead: ReadAhead
  /** By block. A fetch that is not here any more is too old for that block. */
  readonly #fetches = new Map<number, Fetch>()
  /** Requests that were answered from memory alone. */
  hits = 0
  /** Requests that had to wait. */
  misses = 0

  constructor(source: ReadSource, { cacheSize, blockSize, readAhead }: ReaderLimits) {
    this.#source = source
    this.#cache = new BlockCache(cacheSize, blockSize)
    // What is read ahead must not drive out what is being read.
    this.#ahead = new ReadAhead(Math.min(readAhead, this.#cache.capacity / 4))
  }

  /** Bytes in memory. */
  get cachedBytes(): number {
    return this.#cache.bytes
  }

  /** Fills `into` if all of it is in memory. */
  readSync(offset: number, into: Uint8Array): boolean {
    const { blockSize } = this.#cache
    const last = Math.floor((offset + into.length - 1) / blockSize)
    const first = Math.floor(offset / blockSize)
    for (let block = first; block <= last; block++) if (!this.#cache.has(block)) return false
    for (let block = first; block <= last; block++)
      copyOverlap(this.#cache.get(block)!, block * blockSize, offset, into)
    this.hits++
    this.#readAhead(offset, into.length)
    return true
  }

  /** Fills `into`. @throws as the source does */
  async read(offset: number, into: Uint8Array): Promise<void> {
    this.misses++
    // Large requests would drive out everything, and the guest keeps what it read itself.
    if (into.length > this.#cache.capacity / 2) return this.#readDirectly(offset, into)
    const { blockSize } = this.#cache
    const last = Math.floor((offset + into.length - 1) / blockSize)
    const missing: { readonly block: number; readonly fetch: Fetch }[] = []
    for (let block = Math.floor(offset / blockSize); block <= last; block++) {
      const cached = this.#cache.get(block)
      // Now: it may be driven out while the others are fetched.
      if (cached) copyOverlap(cached, block * blockSize, offset, into)
      else missing.push({ block, fetch: this.#fetches.get(block) ?? this.#fetch(block, last) })
    }
    this.#readAhead(offset, into.length)
    try {
      for (const { block, fetch } of missing) {
        await fetch.done
        // This block alone: others that were fetched with it may be too old.
        const at = (block - fetch.first) * blockSize
        copyOverlap(fetch.data.subarray(at, at + blockSize), block * blockSize, offset, into)
      }
    } catch (error) {
      if (isBlockError(error) && ANYWHERE.has(error.code))
        // An error of its own for each reader of what was fetched for several.
        throw new BlockError(error.code, error.message, { cause: error })
      // It may have failed beside what was asked for.
      await this.#readDirectly(offset, into)
    }
  }

  /** A write was taken: whatever is in memory is brought up to date. */
  wrote(offset: number, from: Uint8Array): void {
    this.#cache.patch(offset, from)
    this.#outdate(offset, from.length)
  }

  /** The content of a range is not known any more. */
  forget(offset: number, bytes: number): void {
    this.#cache.drop(offset, bytes)
    this.#outdate(offset, bytes)
  }

  /** Gives all memory back. */
  clear(): void {
    this.#cache.clear()
    this.#fetches.clear()
  }

  #outdate(offset: number, bytes: number): void {
    const { blockSize } = this.#cache
    for (const block of [...this.#fetches.keys()])
      if (block * blockSize < offset + bytes && offset < (block + 1) * blockSize) this.#fetches.delete(block)
  }

  async #readDirectly(offset: number, into: Uint8Array): Promise<void> {
    const writes = this.#source.behind(offset, into.length)
    if (writes) await writes
    await this.#source.read(offset, into)
  }

  /** Fetches from `first` on what is missing, up to `last` at most. */
  #fetch(first: number, last: number): Fetch {
    const { blockSize } = this.#cache
    let end = first + 1
    while (end <= last && !this.#cache.has(end) && !this.#fetches.has(end)) end++
    const start = first * blockSize
    const data = new Uint8Array(Math.min(end * blockSize, this.#source.size) - start)
    const fetch: Fetch = { first, data, done: Promise.resolve() }
    for (let block = first; block < end; block++) this.#fetches.set(block, fetch)
    fetch.done = this.#load(fetch, end)
    // Whoever reads looks at it himself; nobody has to look at what was read ahead.
    fetch.done.catch(() => undefined)
    return fetch
  }

  async #load(fetch: Fetch, end: number): Promise<void> {
    const { first, data } = fetch
    const { blockSize } = this.#cache
    try {
      await this.#readDirectly(first * blockSize, data)
      for (let block = first; block < end; block++) {
        const at = (block - first) * blockSize
        if (this.#fetches.get(block) === fetch) this.#cache.put(block, data.subarray(at, at + blockSize))
      }
    } finally {
      for (let block = first; block < end; block++)
        if (this.#fetches.get(block) === fetch) this.#fetches.delete(block)
    }
  }

  #readAhead(offset: number, bytes: number): void {
    const window = this.#ahead.after(offset, bytes)
    if (window === 0) return
    const { blockSize } = this.#cache
    const end = offset + bytes
    const last = Math.floor((Math.min(end + window, this.#source.size) - 1) / blockSize)
    for (let block = Math.floor(end / blockSize); block <= last; block++) {
      if (this.#cache.has(block) || this.#fetches.has(block)) continue
      // In large steps: while half of the window is there, nothing is asked for.
      if (block * blockSize - end <= window / 2) this.#fetch(block, last)
      return
    }
  }
}

/** Copies what two ranges have in common: `from` begins at `start`, `into` at `offset`. */
function copyOverlap(from: Uint8Array, start: number, offset: number, into: Uint8Array): void {
  const begin = Math.max(offset, start)
  const end = Math.min(offset + into.length, start + from.length)
  into.set(from.subarray(begin - start, end - start), begin - offset)
}
