/**
 * Reading from afar: where every request costs milliseconds, whole chunks are fetched, the last ones are kept, and who
 * reads on finds that more was fetched than he asked for.
 */
import { divUp } from '../bits.ts'

/** What {@link ChunkCache} reads from. */
export interface ChunkSource {
  /** Bytes; does not change. */
  readonly size: number
  /** Exactly that range, which lies inside. */
  fetch(offset: number, bytes: number): Promise<Uint8Array>
}

/** How much is fetched and kept; all in bytes. */
export interface ChunkCacheOptions {
  /** What is fetched at least, at multiples of itself. */
  readonly chunk: number
  /** The most that is fetched beyond what was asked for. */
  readonly readAhead: number
  /** What is kept at most, beside requests in flight. */
  readonly capacity: number
}

/** The longest single fetch in bytes, whatever was asked for. */
const LONGEST_FETCH = 4 * 2 ** 20

interface Chunk {
  readonly bytes: Promise<Uint8Array>
  /** How many chunks were fetched together with it: who reads on behind them gets twice as many. */
  readonly together: number
}

/** The chunks of one source. */
export class ChunkCache {
  readonly #source: ChunkSource
  readonly #options: ChunkCacheOptions
  readonly #count: number
  /** By index; the one used last is last. */
  readonly #chunks = new Map<number, Chunk>()

  constructor(source: ChunkSource, options: ChunkCacheOptions) {
    this.#source = source
    this.#options = options
    this.#count = divUp(source.size, options.chunk)
  }

  /** Fills `into` from `offset`; the range lies inside the source. Rejects with what the source rejected with. */
  async read(offset: number, into: Uint8Array): Promise<void> {
    // In pieces, so that memory stays bounded however long the request is.
    for (let done = 0; done < into.length; done += LONGEST_FETCH)
      await this.#readPiece(offset + done, into.subarray(done, done + LONGEST_FETCH))
  }

  async #readPiece(offset: number, into: Uint8Array): Promise<void> {
    const { chunk } = this.#options
    const end = offset + into.length
    const first = Math.floor(offset / chunk)
    const wanted = this.#take(first, divUp(end, chunk))
    for (const [index, piece] of wanted.entries()) {
      const start = (first + index) * chunk
      const bytes = await piece
      const from = Math.max(offset - start, 0)
      into.set(bytes.subarray(from, Math.min(end - start, bytes.length)), start + from - offset)
    }
    this.#trim()
  }

  /** Takes a chunk, given by its offset, that was fetched in another way. */
  put(offset: number, bytes: Uint8Array): void {
    if (bytes.length > 0)
      this.#chunks.set(offset / this.#options.chunk, { bytes: Promise.resolve(bytes), together: 1 })
  }

  /** Begins to fetch a range that will be wanted; its failure is told to whoever wants it then. */
  prefetch(offset: number, bytes: number): void {
    const { chunk } = this.#options
    const end = Math.min(offset + bytes, this.#source.size)
    if (offset < end) this.#fetchMissing(Math.floor(offset / chunk), divUp(end, chunk))
    this.#trim()
  }

  /** The chunks [from, to), fetched where they are missing, and what may be wanted next. */
  #take(from: number, to: number): Promise<Uint8Array>[] {
    const before = this.#chunks.get(from - 1)
    const isMiss = !this.#chunks.has(to - 1)
    const ahead = isMiss && before ? this.#ahead(before.together) : 0
    this.#fetchMissing(from, Math.min(to + ahead, this.#count))
    const taken: Promise<Uint8Array>[] = []
    for (let index = from; index < to; index++) {
      const chunk = this.#chunks.get(index)!
      this.#chunks.delete(index)
      this.#chunks.set(index, chunk)
      taken.push(chunk.bytes)
    }
    // Of several that fail, one is awaited; the others are no unhandled rejections.
    for (const bytes of taken) bytes.catch(() => undefined)
    return taken
  }

  /** How many chunks more, for who reads on behind `together` chunks that were fetched in one. */
  #ahead(together: number): number {
    const { chunk, readAhead } = this.#options
    return Math.min(2 * together, Math.floor(readAhead / chunk))
  }

  #fetchMissing(from: number, to: number): void {
    const longest = Math.max(1, Math.floor(LONGEST_FETCH / this.#options.chunk))
    for (let index = from; index < to; ) {
      let end = index
      while (end < to && end - index < longest && !this.#chunks.has(end)) end++
      if (end > index) this.#fetch(index, end)
      index = Math.max(end, index + 1)
    }
  }

  #fetch(from: number, to: number): void {
    const { chunk } = this.#options
    const offset = from * chunk
    const whole = this.#source.fetch(offset, Math.min(to * chunk, this.#source.size) - offset)
    for (let index = from; index < to; index++) {
      const start = (index - from) * chunk
      // A chunk on its own: a part of the whole would keep all of it in memory.
      const bytes = whole.then((all) => (to - from === 1 ? all : all.slice(start, start + chunk)))
      const entry: Chunk = { bytes, together: to - from }
      this.#chunks.set(index, entry)
      bytes.catch(() => {
        if (this.#chunks.get(index) === entry) this.#chunks.delete(index)
      })
    }
  }

  /** Forgets what was not used for longest. */
  #trim(): void {
    const most = Math.max(1, Math.floor(this.#options.capacity / this.#options.chunk))
    for (const index of this.#chunks.keys()) {
      if (this.#chunks.size <= most) return
      this.#chunks.delete(index)
    }
  }
}
