/**
 * The content of a disk at a point in time, kept while the disk is written: clusters are copied to a target before they
 * change. What was not copied yet is still read from the disk, and a write waits for such reads.
 */
import { isZero } from '../base/bits.ts'
import type { Clock } from '../base/clock.ts'
import { BlockError } from '../base/errors.ts'
import { RangeTracker } from '../base/range-tracker.ts'
import { SparseBits } from '../base/sparse-bits.ts'
import { inParts } from '../base/sub-requests.ts'
import type { DirtyRange } from '../contract/bitmaps.ts'
import type { BlockChild, BlockStatus } from '../contract/node.ts'
import type { SnapshotAccess } from '../contract/node-ops.ts'
import { chainStatus } from '../graph/block-status.ts'

/** Most bytes copied by one read and write. */
const LONGEST_COPY = 2 ** 20

/** What a copy depends on. */
export interface KeptOptions {
  /** Bytes: what is copied as a whole. */
  readonly clusterSize: number
  /** The parts of the disk that are kept; undefined: all. In bytes. */
  readonly wanted: readonly DirtyRange[] | undefined
  /** Milliseconds that a write waits for its copy; 0: as long as it takes. */
  readonly timeout: number
  /** Whether a failed copy ends the keeping, rather than the write. */
  readonly breaksSnapshot: boolean
}

/** See the head of this file. */
export class KeptClusters implements SnapshotAccess {
  readonly size: number
  readonly #disk: BlockChild
  readonly #target: BlockChild
  readonly #options: KeptOptions
  readonly #clock: Clock
  readonly #wanted: SparseBits | undefined
  /** Clusters that the user of the snapshot has given up. */
  readonly #dropped = new SparseBits()
  readonly #copied = new SparseBits()
  /** Copies in flight, by each of their clusters. They never reject. */
  readonly #copying = new Map<number, Promise<void>>()
  /** Reads of the snapshot from the disk itself. */
  readonly #reads = new RangeTracker()
  /** The first failure of a copy, which made the snapshot unusable. */
  #broken = false

  constructor(disk: BlockChild, target: BlockChild, options: KeptOptions, clock: Clock) {
    this.#disk = disk
    this.#target = target
    this.#options = options
    this.#clock = clock
    this.size = disk.size
    if (!options.wanted) return
    this.#wanted = new SparseBits()
    for (const { offset, bytes } of options.wanted)
      for (const cluster of this.#clustersOf(offset, bytes)) this.#wanted.add(cluster)
  }

  // ---- before a change ----

  /**
   * Copies what a change of a range would destroy, and waits for reads of the snapshot there.
   *
   * @throws the failure of a copy, unless that breaks the snapshot; BlockError ETIMEDOUT
   */
  async save(offset: number, bytes: number): Promise<void> {
    if (this.#broken) return
    try {
      await this.#inTime(this.#copyRange(offset, bytes))
    } catch (error) {
      if (!this.#options.breaksSnapshot) throw error
      this.#broken = true
    }
    const [start, end] = this.#around(offset, bytes)
    await this.#reads.run(start, end - start, true, async () => {})
  }

  /** Resolves when no copy is in flight. */
  async drain(): Promise<void> {
    await Promise.all(this.#copying.values())
  }

  /** A copy that takes too long goes on, but nothing waits for it. */
  #inTime(copies: Promise<void>): Promise<void> {
    const { timeout } = this.#options
    if (timeout === 0) return copies
    return new Promise((resolve, reject) => {
      const cancel = this.#clock.after(timeout, () =>
        reject(new BlockError('ETIMEDOUT', `copying before the write took more than ${timeout} ms`)),
      )
      copies.finally(cancel).then(resolve, reject)
    })
  }

  /** @throws the first failure */
  #copyRange(offset: number, bytes: number): Promise<void> {
    const [start, end] = this.#around(offset, bytes)
    const { clusterSize } = this.#options
    const longest = Math.max(1, Math.floor(LONGEST_COPY / clusterSize))
    return inParts(Math.max(0, end - start), async (done, parts) => {
      const first = (start + done) / clusterSize
      if (!this.#needsCopy(first)) return clusterSize
      const running = this.#copying.get(first)
      if (running) {
        await running
        // If that copy failed, this change needs its own.
        return this.#needsCopy(first) ? 0 : clusterSize
      }
      const last = Math.min(first + longest, Math.ceil(end / clusterSize))
      let next = first + 1
      while (next < last && this.#needsCopy(next) && !this.#copying.has(next)) next++
      await parts.add(() => this.#copy(first, next))
      return (next - first) * clusterSize
    })
  }

  #needsCopy(cluster: number): boolean {
    return this.#isKept(cluster) && !this.#copied.has(cluster)
  }

  /** Copies clusters, from `first` up to `end`, which nothing copies yet. */
  async #copy(first: number, end: number): Promise<void> {
    const { clusterSize } = this.#options
    const copy = this.#move(first * clusterSize, Math.min(end * clusterSize, this.size))
    const settled = copy.then(
      () => {
        for (let at = first; at < end; at++) this.#copied.add(at)
      },
      () => {},
    )
    const over = settled.then(() => {
      for (let at = first; at < end; at++) this.#copying.delete(at)
    })
    for (let at = first; at < end; at++) this.#copying.set(at, over)
    await over
    await copy
  }

  async #move(start: number, end: number): Promise<void> {
    for (let at = start; at < end; ) {
      const status = await chainStatus(this.#disk.node, at, end - at)
      const bytes = Math.min(Math.max(status.bytes, 1), end - at)
      if (status.zero) await this.#target.writeZeroes(at, bytes)
      else {
        const data = new Uint8Array(bytes)
        await this.#disk.read(at, data)
        if (isZero(data)) await this.#target.writeZeroes(at, bytes)
        else await this.#target.write(at, data)
      }
      at += bytes
    }
  }

  // ---- the snapshot ----

  async read(offset: number, into: Uint8Array): Promise<void> {
    for (let done = 0; done < into.length; ) {
      done += await this.#access(offset + done, into.length - done, async (child, bytes) => {
        await child.read(offset + done, into.subarray(done, done + bytes))
        return bytes
      })
    }
  }

  async blockStatus(offset: number, bytes: number): Promise<BlockStatus> {
    return this.#access(offset, bytes, async (child, length) => {
      // The node that asks has no backing file: to it, all layers are one.
      const { depth: _, ...status } = await chainStatus(child.node, offset, length)
      return { ...status, allocated: true }
    })
  }

  async discard(offset: number, bytes: number): Promise<void> {
    const { clusterSize } = this.#options
    const end = offset + bytes
    const whole = end === this.size ? Math.ceil(end / clusterSize) : Math.floor(end / clusterSize)
    for (let at = Math.ceil(offset / clusterSize); at < whole; at++) this.#dropped.add(at)
    await this.#target.discard(offset, bytes)
  }

  /**
   * Runs `body` on the disk or on the target, whichever holds the longest part at the start of a range.
   *
   * @throws BlockError EACCES if any of the range is not kept
   */
  async #access<T>(
    offset: number,
    bytes: number,
    body: (child: BlockChild, bytes: number) => Promise<T>,
  ): Promise<T> {
    const clusters = this.#clustersOf(offset, bytes)
    if (this.#broken || clusters.some((cluster) => !this.#isKept(cluster)))
      throw new BlockError('EACCES', 'the snapshot does not keep this range', { offset })
    const isCopied = this.#copied.has(clusters[0]!)
    const other = clusters.find((cluster) => this.#copied.has(cluster) !== isCopied)
    const end = other === undefined ? offset + bytes : other * this.#options.clusterSize
    const length = end - offset
    if (isCopied) return body(this.#target, length)
    // Changes of the disk wait for this one, if they come later; there is none in flight that was not copied.
    return this.#reads.run(offset, length, false, () => body(this.#disk, length))
  }

  #isKept(cluster: number): boolean {
    return !this.#dropped.has(cluster) && (this.#wanted?.has(cluster) ?? true)
  }

  /** The clusters of the snapshot that a range touches. */
  #clustersOf(offset: number, bytes: number): number[] {
    const { clusterSize } = this.#options
    const [start, end] = this.#around(offset, bytes)
    return Array.from(
      { length: Math.max(0, Math.ceil((end - start) / clusterSize)) },
      (_, i) => start / clusterSize + i,
    )
  }

  /** A range in whole clusters, as far as the disk had them. */
  #around(offset: number, bytes: number): [start: number, end: number] {
    const { clusterSize } = this.#options
    const end = Math.min(offset + bytes, Math.ceil(this.size / clusterSize) * clusterSize)
    return [Math.floor(offset / clusterSize) * clusterSize, Math.ceil(end / clusterSize) * clusterSize]
  }
}
