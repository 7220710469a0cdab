/**
 * Reads tables ahead of their use: while one is processed, the next is being read. Adjacent tables are read
 * at once. Memory is bounded for any image.
 */
import type { BlockChild } from '@vmblock/block-core/driver'

/** Bytes of one read, and of all that is read ahead; never less than a table. */
const READ_AHEAD = 2 ** 20

/** One read, of tables `first` to `end` (excluded). */
interface Batch {
  readonly first: number
  readonly end: number
  readonly bytes: Promise<Uint8Array>
}

/** How {@link TableReader} reads. */
export interface TableReaderOptions {
  readonly file: BlockChild
  /** Host offsets in bytes, in order of use. */
  readonly offsets: readonly number[]
  /** Bytes of a table. */
  readonly size: number
  /** False: every table is read when it is used, since it may be changed before that. */
  readonly ahead: boolean
}

/** Reads tables at known offsets. */
export class TableReader {
  readonly #options: TableReaderOptions
  /** Reads that were started, in order; the first one holds the table that was used last. */
  #batches: Batch[] = []
  #next = 0

  constructor(options: TableReaderOptions) {
    this.#options = options
  }

  /**
   * The table with an index that is not below that of the last call. Its bytes are valid until the next call.
   *
   * @throws the error of reading this table
   */
  async read(index: number): Promise<Uint8Array> {
    const { size } = this.#options
    while (this.#batches[0] && this.#batches[0].end <= index) this.#batches.shift()
    if (this.#batches.length === 0) this.#next = index
    this.#readAhead(index)
    const { first, end, bytes } = this.#batches[0]!
    try {
      return (await bytes).subarray((index - first) * size, (index - first + 1) * size)
    } catch (error) {
      if (end - first === 1) throw error
      // Another table of the batch may be to blame.
      const own = this.#fetch(index, index + 1)
      this.#batches[0] = { first: index, end: index + 1, bytes: own }
      this.#batches.splice(1)
      this.#next = index + 1
      return own
    }
  }

  /** How many tables were read at once with the last one, itself included. */
  get together(): number {
    const [batch] = this.#batches
    return batch ? batch.end - batch.first : 1
  }

  /** Resolves when no read is in flight. */
  async drain(): Promise<void> {
    await Promise.allSettled(this.#batches.map(({ bytes }) => bytes))
  }

  #readAhead(index: number): void {
    const { offsets, size, ahead } = this.#options
    const most = Math.max(index + 1, ahead ? index + Math.ceil((2 * READ_AHEAD) / size) : 0)
    while (this.#next < Math.min(most, offsets.length)) {
      const first = this.#next
      let end = first + 1
      const isAdjacent = (at: number): boolean => offsets[at] === offsets[at - 1]! + size
      while (ahead && end < offsets.length && (end - first + 1) * size <= READ_AHEAD && isAdjacent(end)) end++
      const bytes = this.#fetch(first, end)
      // An error of a table that is never used is ignored.
      bytes.catch(() => undefined)
      this.#batches.push({ first, end, bytes })
      this.#next = end
    }
  }

  async #fetch(first: number, end: number): Promise<Uint8Array> {
    const { file, offsets, size } = this.#options
    const bytes = new Uint8Array((end - first) * size)
    await file.read(offsets[first]!, bytes)
    return bytes
  }
}
