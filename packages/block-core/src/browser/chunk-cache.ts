/**
 * A cache for sources where every request costs milliseconds: whole chunks are fetched, the most recent ones
 * are kept, and a sequential reader finds the next ones already in flight. A chunk in flight is not fetched
 * again, however small the cache is.
 */
import { divUp } from '../base/bits.ts'
import { BlockError, isBlockError } from '../base/errors.ts'

/** The link between a source and the cache during a fetch. */
export interface Arrival {
  /** Reports that the first `bytes` bytes of the range are in the buffer; more each time. */
  arrived(bytes: number): void
  /** Whether a reader waits for the range. If not, a failed fetch need not be repeated. */
  readonly isWanted: boolean
}

/** The source that {@link ChunkCache} reads. */
export interface ChunkSource {
  /** Bytes; does not change. */
  readonly size: number
  /** Fills `into` from `offset`, inside the source; writes nothing to it after the promise has settled. */
  fetch(offset: number, into: Uint8Array, arrival: Arrival): Promise<void>
}

/** How much is fetched and kept, in bytes. */
export interface ChunkCacheOptions {
  /** Unit of fetching, aligned to multiples of itself. */
  readonly chunk: number
  /** Most bytes fetched beyond a request; limited to half of `capacity`. */
  readonly readAhead: number
  /** Most bytes kept, besides those in flight. */
  readonly capacity: number
}

/** The longest single fetch, in bytes. */
const LONGEST_FETCH = 4 * 2 ** 20

interface Chunk {
  readonly bytes: Promise<Uint8Array>
  /** Chunks requested and read ahead with it: a sequential reader gets twice as many next time. */
  readonly together: number
  /** The fetch that brings it; undefined for a chunk that was put. */
  readonly fetch: Fetch | undefined
  /** Whether it was read, not only fetched ahead. */
  isUsed: boolean
}

/** One fetch of some chunks. */
interface Fetch extends Arrival {
  isWanted: boolean
}

/** The chunks of one source. */
export class ChunkCache {
  readonly #source: ChunkSource
  readonly #chunk: number
  readonly #count: number
  /** Most chunks kept, and most read ahead. */
  readonly #most: number
  readonly #mostAhead: number
  /** By index; the most recently used is last. */
  readonly #kept = new Map<number, Chunk>()
  /** Chunks in flight, by index; not limited. */
  readonly #coming = new Map<number, Chunk>()

  constructor(source: ChunkSource, { chunk, readAhead, capacity }: ChunkCacheOptions) {
    this.#source = source
    this.#chunk = chunk
    this.#count = divUp(source.size, chunk)
    this.#most = Math.max(1, Math.floor(capacity / chunk))
    this.#mostAhead = Math.floor(Math.min(readAhead, capacity / 2) / chunk)
  }

  /** Fills `into` from `offset`; the range lies inside the source. Rejects with the source's error. */
  async read(offset: number, into: Uint8Array): Promise<void> {
    // In pieces, so that memory stays bounded for requests of any length.
    for (let done = 0; done < into.length; done += LONGEST_FETCH)
      await this.#readPiece(offset + done, into.subarray(done, done + LONGEST_FETCH))
  }

  async #readPiece(offset: number, into: Uint8Array): Promise<void> {
    const end = offset + into.length
    const first = Math.floor(offset / this.#chunk)
    const wanted = this.#take(first, divUp(end, this.#chunk))
    try {
      for (const [index, piece] of wanted.entries()) {
        const start = (first + index) * this.#chunk
        const bytes = await piece
        const from = Math.max(offset - start, 0)
        into.set(bytes.subarray(from, Math.min(end - start, bytes.length)), start + from - offset)
      }
    } catch (error) {
      // Each reader gets its own error object, since one fetch may serve several.
      throw isBlockError(error) ? new BlockError(error.code, error.message, { cause: error.cause }) : error
    }
  }

  /** Adds a chunk that was fetched in another way, by its offset. */
  put(offset: number, bytes: Uint8Array): void {
    if (bytes.length > 0)
      this.#keep(offset / this.#chunk, {
        bytes: Promise.resolve(bytes),
        together: 1,
        fetch: undefined,
        isUsed: false,
      })
  }

  #peek(index: number): Chunk | undefined {
    return this.#coming.get(index) ?? this.#kept.get(index)
  }

  /** Returns the chunks [from, to), and fetches missing ones and those likely to be wanted next. */
  #take(from: number, to: number): Promise<Uint8Array>[] {
    this.#fetchMissing(from, to, this.#ahead(from, to))
    const taken: Promise<Uint8Array>[] = []
    for (let index = from; index < to; index++) {
      const chunk = this.#peek(index)!
      chunk.isUsed = true
      if (chunk.fetch) chunk.fetch.isWanted = true
      if (this.#kept.delete(index)) this.#kept.set(index, chunk)
      taken.push(chunk.bytes)
    }
    return taken
  }

  /** Number of chunks to read ahead after [from, to): for a sequential reader, more each time. */
  #ahead(from: number, to: number): number {
    const before = this.#peek(from - 1)
    // Only when a chunk is first read, whether it is in the cache or not.
    if (!before?.isUsed || this.#peek(to - 1)?.isUsed) return 0
    const ahead = Math.min(2 * before.together, this.#mostAhead, this.#count - to)
    let there = 0
    while (there < ahead && this.#peek(to + there)) there++
    // In large steps: nothing is fetched while more than half of these chunks are present.
    return there <= ahead / 2 ? ahead : 0
  }

  /** Fetches the missing chunks of [from, to) and of the `ahead` chunks after it. */
  #fetchMissing(from: number, to: number, ahead: number): void {
    const longest = Math.max(1, Math.floor(LONGEST_FETCH / this.#chunk))
    const last = to + ahead
    for (let index = from; index < last; ) {
      let end = index
      while (end < last && end - index < longest && !this.#peek(end)) end++
      if (end > index) this.#fetch(index, end, to - from + ahead, index < to)
      index = Math.max(end, index + 1)
    }
  }

  #fetch(from: number, to: number, together: number, isWanted: boolean): void {
    const offset = from * this.#chunk
    const all = new Uint8Array(Math.min(to * this.#chunk, this.#source.size) - offset)
    const waiting: { resolve(bytes: Uint8Array): void; reject(error: unknown): void }[] = []
    let next = 0
    const fetch: Fetch = {
      isWanted,
      // Chunk by chunk: the first ones need not wait for those read ahead.
      arrived: (bytes) => {
        for (; next < waiting.length; next++) {
          const start = next * this.#chunk
          const end = Math.min(start + this.#chunk, all.length)
          if (end > bytes) return
          // A copy: a view would keep the whole buffer in memory.
          waiting[next]!.resolve(waiting.length === 1 ? all : all.slice(start, end))
          this.#arrive(from + next, fetch)
        }
      },
    }
    for (let index = from; index < to; index++) {
      const bytes = new Promise<Uint8Array>((resolve, reject) => waiting.push({ resolve, reject }))
      // It may have no reader, and of several that fail only one is awaited.
      bytes.catch(() => undefined)
      this.#coming.set(index, { bytes, together, fetch, isUsed: false })
    }
    void this.#source.fetch(offset, all, fetch).then(
      () => fetch.arrived(all.length),
      (error: unknown) => {
        for (; next < waiting.length; next++) {
          this.#coming.delete(from + next)
          waiting[next]!.reject(error)
        }
      },
    )
  }

  #arrive(index: number, fetch: Fetch): void {
    const chunk = this.#coming.get(index)
    if (chunk?.fetch !== fetch) return
    this.#coming.delete(index)
    this.#keep(index, chunk)
  }

  /** Keeps a chunk, and drops the least recently used ones beyond the limit. */
  #keep(index: number, chunk: Chunk): void {
    this.#kept.set(index, chunk)
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= this.#most) return
      this.#kept.delete(oldest)
    }
  }
}
