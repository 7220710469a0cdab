/**
 * Tables read ahead of whoever goes through them: while one is looked at, the host is busy with the next. Tables
 * that lie one behind the other are read at once. Memory is bounded, whatever the image.
 */
import type { BlockChild } from '@vmblock/block-core'

/** Bytes of one read, and of what is read ahead; never less than a table. */
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
  /** Host offsets in bytes, in the order in which they will be wanted. */
  readonly offsets: readonly number[]
  /** Bytes of a table. */
  readonly size: number
  /** False: every table is read when it is wanted, since others may be changed before that. */
  readonly ahead: boolean
}

/** Reads tables whose places are known. */
export class TableReader {
  readonly #options: TableReaderOptions
  /** Begun, in order; the first one holds the table that was wanted last. */
  #batches: Batch[] = []
  #next = 0

  constructor(options: TableReaderOptions) {
    this.#options = options
  }

  /**
   * The table of that index, which is not below that of the last call. Its bytes are good until the next call.
   *
   * @throws what the host reports of this table
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
      // Another of them may be to blame.
      const own = this.#fetch(index, index + 1)
      this.#batches[0] = { first: index, end: index + 1, bytes: own }
      this.#batches.splice(1)
      this.#next = index + 1
      return own
    }
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
      // Who never asks for it shall not hear of it.
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
