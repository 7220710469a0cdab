/**
 * Reads through the cache: cached blocks are returned at once, missing ones are fetched whole, and sequential
 * reads are read ahead. A write outdates fetches of its blocks in flight: they are not cached.
 */
import { BlockError, isBlockError } from '@vmblock/block-core'
import { BlockCache } from './block-cache.ts'
import { ReadAhead } from './read-ahead.ts'

/** Failures that do not depend on the range: reading less of it would only take as long again. */
const ANYWHERE: ReadonlySet<string> = new Set(['ETIMEDOUT', 'ECANCELED', 'EACCES', 'ENOENT', 'ENOMEDIUM'])

/** The image, as reads see it once the queued writes have reached it. */
export interface ReadSource {
  /** Bytes. */
  readonly size: number
  read(offset: number, into: Uint8Array): Promise<void>
  /** Resolves when earlier writes to a range are done; undefined: there are none. */
  behind(offset: number, bytes: number): Promise<void> | undefined
}

/** How much is kept, in bytes. */
export interface ReaderLimits {
  readonly cacheSize: number
  readonly blockSize: number
  readonly readAhead: number
}

/** Adjacent blocks that are being read. */
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
  /** By block. A fetch that is no longer here is outdated for that block. */
  readonly #fetches = new Map<number, Fetch>()
  /** Requests answered from memory. */
  hits = 0
  /** Requests that had to wait. */
  misses = 0

  constructor(source: ReadSource, { cacheSize, blockSize, readAhead }: ReaderLimits) {
    this.#source = source
    this.#cache = new BlockCache(cacheSize, blockSize)
    // Blocks read ahead must not evict those being read.
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
    // Large requests would evict everything, and the guest caches what it read.
    if (into.length > this.#cache.capacity / 2) return this.#readDirectly(offset, into)
    const { blockSize } = this.#cache
    const last = Math.floor((offset + into.length - 1) / blockSize)
    const missing: { readonly block: number; readonly fetch: Fetch }[] = []
    for (let block = Math.floor(offset / blockSize); block <= last; block++) {
      const cached = this.#cache.get(block)
      // Copied now: it may be evicted while the others are fetched.
      if (cached) copyOverlap(cached, block * blockSize, offset, into)
      else missing.push({ block, fetch: this.#fetches.get(block) ?? this.#fetch(block, last) })
    }
    this.#readAhead(offset, into.length)
    try {
      for (const { block, fetch } of missing) {
        await fetch.done
        // Only this block: others of the same fetch may be outdated.
        const at = (block - fetch.first) * blockSize
        copyOverlap(fetch.data.subarray(at, at + blockSize), block * blockSize, offset, into)
      }
    } catch (error) {
      if (isBlockError(error) && ANYWHERE.has(error.code))
        // Each reader gets its own error object, since one fetch may serve several.
        throw new BlockError(error.code, error.message, { cause: error })
      // The failure may lie outside the requested range.
      await this.#readDirectly(offset, into)
    }
  }

  /** Updates the cache with a write. */
  wrote(offset: number, from: Uint8Array): void {
    this.#cache.patch(offset, from)
    this.#outdate(offset, from.length)
  }

  /** Drops a range whose content is no longer known. */
  forget(offset: number, bytes: number): void {
    this.#cache.drop(offset, bytes)
    this.#outdate(offset, bytes)
  }

  /** Releases all memory. */
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

  /** Fetches the run of missing blocks from `first` on, up to `last`. */
  #fetch(first: number, last: number): Fetch {
    const { blockSize } = this.#cache
    let end = first + 1
    while (end <= last && !this.#cache.has(end) && !this.#fetches.has(end)) end++
    const start = first * blockSize
    const data = new Uint8Array(Math.min(end * blockSize, this.#source.size) - start)
    const fetch: Fetch = { first, data, done: Promise.resolve() }
    for (let block = first; block < end; block++) this.#fetches.set(block, fetch)
    fetch.done = this.#load(fetch, end)
    // Readers handle the failure themselves; a failed read-ahead needs no handling.
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
      // In large steps: nothing is fetched while more than half of the window is present.
      if (block * blockSize - end <= window / 2) this.#fetch(block, last)
      return
    }
  }
}

/** Copies the overlap of two ranges: `from` begins at `start`, `into` at `offset`. */
function copyOverlap(from: Uint8Array, start: number, offset: number, into: Uint8Array): void {
  const begin = Math.max(offset, start)
  const end = Math.min(offset + into.length, start + from.length)
  into.set(from.subarray(begin - start, end - start), begin - offset)
}
