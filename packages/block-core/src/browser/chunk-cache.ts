/**
 * Reading from afar: where every request costs milliseconds, whole chunks are fetched, the last ones are kept, and a reader
 * that goes on finds the next ones on their way. What is on its way is not fetched again, however little is kept.
 */
import { divUp } from '../bits.ts'
import { BlockError, isBlockError } from '../errors.ts'

/** What a source tells, and is told, while it fetches. */
export interface Arrival {
  /** So many bytes of the range, from its start, are in the buffer; more each time. */
  arrived(bytes: number): void
  /** Whether anything waits for it. If not, it need not be tried again. */
  readonly isWanted: boolean
}

/** What {@link ChunkCache} reads from. */
export interface ChunkSource {
  /** Bytes; does not change. */
  readonly size: number
  /** Fills `into` with that range, which lies inside; nothing is written to it once the promise has settled. */
  fetch(offset: number, into: Uint8Array, arrival: Arrival): Promise<void>
}

/** How much is fetched and kept; all in bytes. */
export interface ChunkCacheOptions {
  /** What is fetched at least, at multiples of itself. */
  readonly chunk: number
  /** The most that is fetched beyond what was asked for; at most half of what is kept. */
  readonly readAhead: number
  /** What is kept at most, beside what is on its way. */
  readonly capacity: number
}

/** The longest single fetch in bytes, whatever was asked for. */
const LONGEST_FETCH = 4 * 2 ** 20

interface Chunk {
  readonly bytes: Promise<Uint8Array>
  /** How many chunks were wanted when it was fetched: a reader that goes on behind them gets twice as many. */
  readonly together: number
  /** What it came with; undefined for one that was put. */
  readonly fetch: Fetch | undefined
  /** It was read, not only fetched ahead. */
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
  /** Chunks: how many are kept, and how many are read ahead. */
  readonly #most: number
  readonly #mostAhead: number
  /** By index; the one used last is last. */
  readonly #kept = new Map<number, Chunk>()
  /** On their way, by index: as many as it takes. */
  readonly #coming = new Map<number, Chunk>()

  constructor(source: ChunkSource, { chunk, readAhead, capacity }: ChunkCacheOptions) {
    this.#source = source
    this.#chunk = chunk
    this.#count = divUp(source.size, chunk)
    this.#most = Math.max(1, Math.floor(capacity / chunk))
    this.#mostAhead = Math.floor(Math.min(readAhead, capacity / 2) / chunk)
  }

  /** Fills `into` from `offset`; the range lies inside the source. Rejects with what the source rejected with. */
  async read(offset: number, into: Uint8Array): Promise<void> {
    // In pieces, so that memory stays bounded however long the request is.
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
      // An error of its own for each reader of what was fetched for several.
      throw isBlockError(error) ? new BlockError(error.code, error.message, { cause: error.cause }) : error
    }
  }

  /** Takes a chunk, given by its offset, that was fetched in another way. */
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

  /** The chunks [from, to), fetched where they are missing, and what may be wanted next. */
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

  /** How many chunks behind [from, to) shall be on their way: for a reader that goes on, more each time. */
  #ahead(from: number, to: number): number {
    const before = this.#peek(from - 1)
    // Once for each chunk: when it is first read, be it there or not.
    if (!before?.isUsed || this.#peek(to - 1)?.isUsed) return 0
    const ahead = Math.min(2 * before.together, this.#mostAhead, this.#count - to)
    let there = 0
    while (there < ahead && this.#peek(to + there)) there++
    // In large steps: while half of it is there, nothing is asked for.
    return there <= ahead / 2 ? ahead : 0
  }

  /** Fetches what is missing of [from, to) and of `ahead` chunks behind. */
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
    const settle: { resolve(bytes: Uint8Array): void; reject(error: unknown): void }[] = []
    let next = 0
    const fetch: Fetch = {
      isWanted,
      // Chunk by chunk: the first ones need not wait for those that are read ahead.
      arrived: (bytes) => {
        for (; next < settle.length; next++) {
          const start = next * this.#chunk
          const end = Math.min(start + this.#chunk, all.length)
          if (end > bytes) return
          // On its own: a part of the whole would keep all of it in memory.
          settle[next]!.resolve(settle.length === 1 ? all : all.slice(start, end))
          this.#arrive(from + next, fetch)
        }
      },
    }
    for (let index = from; index < to; index++) {
      const bytes = new Promise<Uint8Array>((resolve, reject) => settle.push({ resolve, reject }))
      // Nobody may be waiting for it, and of several that fail one is awaited.
      bytes.catch(() => undefined)
      this.#coming.set(index, { bytes, together, fetch, isUsed: false })
    }
    void this.#source.fetch(offset, all, fetch).then(
      () => fetch.arrived(all.length),
      (error: unknown) => {
        for (; next < settle.length; next++) {
          this.#coming.delete(from + next)
          settle[next]!.reject(error)
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

  /** Keeps a chunk, and forgets what was not used for longest. */
  #keep(index: number, chunk: Chunk): void {
    this.#kept.set(index, chunk)
    for (const oldest of this.#kept.keys()) {
      if (this.#kept.size <= this.#most) return
      this.#kept.delete(oldest)
    }
  }
}
