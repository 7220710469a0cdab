/**
 * The length of the image file: how much of it was ever written, and how much of it survives a power cut. The
 * file grows in large steps beyond the clusters in use, and the excess is cut off before the image counts as
 * clean.
 */
import { alignUp, type BlockChild } from '@vmblock/block-core/driver'

/** The file of a lazy image grows by its own size at a time, within these bounds. Bytes. */
const EXTENSION = { least: 16 * 2 ** 20, most: 64 * 2 ** 20 }

/** All offsets are host bytes. */
export class FileLength {
  readonly #file: BlockChild
  readonly #clusterSize: number
  readonly #flush: () => Promise<void>
  /** See {@link untouchedFrom}. */
  #untouchedFrom = 0
  /** The length of the file is known to be durable up to here (write-order.ts). */
  #coveredTo = 0
  /** Clusters were allocated since the image was opened, so the last one may be only partly written. */
  #hasClaimed = false
  /** The file is longer than its clusters need. */
  #extended = false

  /** @param flush makes completed writes to the file durable, and then calls {@link flushed} */
  constructor(file: BlockChild, clusterSize: number, flush: () => Promise<void>) {
    this.#file = file
    this.#clusterSize = clusterSize
    this.#flush = flush
    this.refresh()
  }

  /** Nothing was ever written at and above this offset, so that it reads as zeroes. */
  get untouchedFrom(): number {
    return this.#untouchedFrom
  }

  /** The whole file counts as written, and nothing behind it: it was opened, or read anew. */
  refresh(): void {
    this.#untouchedFrom = alignUp(this.#file.size, this.#clusterSize)
  }

  /** The whole file counts as written: clusters were written that were not claimed one by one. */
  claimAll(): void {
    this.#untouchedFrom = Math.max(this.#untouchedFrom, alignUp(this.#file.size, this.#clusterSize))
  }

  /** Marks [offset, offset + bytes) as in use. @returns whether they read as zeroes */
  claim(offset: number, bytes: number): boolean {
    this.#hasClaimed = true
    const zeroed = offset >= this.#untouchedFrom
    this.#untouchedFrom = Math.max(this.#untouchedFrom, offset + bytes)
    return zeroed
  }

  /** Whether the file durably reaches `end`. */
  isCovered(end: number): boolean {
    return end <= this.#coveredTo
  }

  /**
   * Makes the file durably reach `end`. Grows it in large steps; {@link trim} cuts off the excess.
   *
   * @returns false if the file cannot grow
   * @throws the error of the flush
   */
  async cover(end: number): Promise<boolean> {
    if (this.isCovered(end)) return true
    const reached = await this.extend(end)
    if (reached < end) return false
    await this.#flush()
    return true
  }

  /** Called after a flush of the file, which had `size` bytes when the flush began. */
  flushed(size: number): void {
    this.#coveredTo = Math.max(this.#coveredTo, Math.min(size, this.#file.size))
  }

  /**
   * Makes the file reach well beyond `end`, so that this is rarely needed. Not durably.
   *
   * @returns the offset it is sure to reach; 0 if it cannot grow
   */
  async extend(end: number): Promise<number> {
    const { size } = this.#file
    const step = Math.min(Math.max(size, EXTENSION.least), EXTENSION.most)
    const target = alignUp(end, this.#clusterSize) + alignUp(step, this.#clusterSize)
    return (await this.reach(target)) ? target : 0
  }

  /**
   * Makes the file reach `end`, and cover every cluster in use; the parts never written read as zeroes. Not
   * durably. {@link trim} cuts off the excess.
   *
   * @returns false if the file cannot be extended
   */
  async reach(end: number): Promise<boolean> {
    // Data may be in flight to any allocated cluster: the file must not end before it.
    const target = Math.max(end, this.#untouchedFrom)
    if (this.#file.size >= target) return true
    try {
      await this.#file.truncate(target, { exact: false })
    } catch {
      return false
    }
    if (end > this.#untouchedFrom) this.#extended = true
    return true
  }

  /**
   * Extends the file to the end of its last cluster, which may have been written in part: other programs take
   * a shorter file for damaged. Not durable: the image reads the same either way, so no flush is made.
   */
  async complete(): Promise<void> {
    if (!this.#hasClaimed || this.#file.size >= this.#untouchedFrom) return
    await this.reach(this.#untouchedFrom)
  }

  /** Cuts the file after the clusters in use, if it was extended beyond them. */
  async trim(): Promise<void> {
    if (!this.#extended) return
    this.#extended = false
    this.#coveredTo = 0
    if (this.#untouchedFrom < this.#file.size)
      await this.#file.truncate(this.#untouchedFrom, { exact: false }).catch(() => undefined)
  }

  /**
   * Cuts the file at `end`, behind which no cluster is in use any more: if it grows again, there are zeroes,
   * and its new length has to be made durable again.
   *
   * @throws the error of the file
   */
  async cut(end: number): Promise<void> {
    try {
      await this.#file.truncate(end, { exact: false })
    } finally {
      // Only bytes that are surely gone read as zeroes when the file grows again.
      if (this.#file.size <= end) {
        this.#untouchedFrom = Math.min(this.#untouchedFrom, end)
        this.#coveredTo = Math.min(this.#coveredTo, end)
      }
    }
  }
}
