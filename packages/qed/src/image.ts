/**
 * One open QED image: its header, its tables, the end of the file, and the need-check bit, which says that a
 * check is necessary after a crash. QED has no refcounts: everything behind the last cluster is free, so the
 * length of the file is metadata.
 *
 *     allocate   need-check bit -> L2 entry   (without backing file; flushed once, then nothing more to wait for)
 *     allocate   data, copies   -> L2 entry   (with a backing file: lost data would read as zeroes, not as it was)
 *     new table  zeroed table   -> L1 entry
 *     clean      everything     -> need-check bit cleared
 *
 * `->` is a flush of the file in between. After a crash, entries may point at or beyond the end of the file,
 * but only while the bit is set; their data was never flushed, and the check makes them unallocated.
 */
import {
  alignDown,
  alignUp,
  type BlockChild,
  type DriverEvents,
  Mutex,
  RangeTracker,
  SECTOR,
  TableCache,
} from '@vmblock/block-core/driver'
import {
  Feature,
  HEADER,
  HEADER_BYTES,
  type Header,
  isClusterOffset,
  isTableOffset,
} from './format/header.ts'
import { IdleTimer, type QedClock } from './idle-timer.ts'

/** The parts of an {@link Image}. */
export interface ImageParts {
  readonly nodeName: string
  readonly header: Header
  readonly file: BlockChild
  /** The backing file's name in the header. */
  readonly backingName: string | undefined
  readonly writable: boolean
  readonly events: DriverEvents
  readonly clock: QedClock
}

/** Bytes of a piece of a table in the caches: 512 entries. */
const SLICE = 4096
/** Bytes of L2 tables that are cached: those of 256 GiB in clusters of 64 KiB. */
const L2_CACHE = 32 * 2 ** 20
/** Bytes of the L1 table that are cached: those of 256 TiB in clusters of 64 KiB. */
const L1_CACHE = 2 ** 20
/** Milliseconds without an allocation after which the image is marked clean; the same as in QEMU. */
const NEED_CHECK_DELAY = 5000

/** State shared by the verbs (read, write, check, ...). Changes to it happen under {@link Image.lock}. */
export class Image {
  readonly nodeName: string
  readonly file: BlockChild
  readonly events: DriverEvents
  readonly l1Table: TableCache
  readonly l2Tables: TableCache
  /** Guards the tables, the header and the end of the file; never held during guest data I/O. */
  readonly lock = new Mutex()
  /** Guest ranges being allocated or zeroed. Taken before {@link lock}. */
  readonly allocating = new RangeTracker()
  /** The backing node, which shows through where the image holds nothing. */
  backing: BlockChild | undefined
  /** As on disk. */
  header: Header
  backingName: string | undefined
  writable: boolean
  /**
   * Host bytes: whole clusters of the file, and those reserved behind it. The next cluster is appended here.
   */
  end = 0
  /** The need-check bit was found set and no repair has run since: only a repair may clear it. */
  needsRepair: boolean
  /** There are no bytes behind {@link end}, except those written through this object. */
  #isTrimmed = false
  /** Host bytes up to which something was written and released; even if cut off, a crash may restore it. */
  #usedTo = 0
  /** The file may reach behind {@link end}, over released clusters. */
  #isTooLong = false
  /** Host bytes before {@link end} that were released: whole clusters with unknown contents. */
  #released: { readonly offset: number; readonly bytes: number }[] = []
  /** Writing the header failed, so the disk may hold the old one or the new one. */
  #headerIsUnsure = false
  readonly #timer: IdleTimer

  constructor(parts: ImageParts) {
    const { file } = parts
    this.nodeName = parts.nodeName
    this.header = parts.header
    this.file = file
    this.backingName = parts.backingName
    this.writable = parts.writable
    this.events = parts.events
    this.needsRepair = this.needCheck
    this.measureFile()
    const cache = (bytes: number, update: 'l1_update' | 'l2_update'): TableCache =>
      new TableCache({
        file,
        sliceSize: SLICE,
        capacity: bytes / SLICE,
        events: { load: update === 'l2_update' ? 'l2_load' : 'none', update },
        flushData: () => file.flush(),
      })
    this.l1Table = cache(L1_CACHE, 'l1_update')
    this.l2Tables = cache(L2_CACHE, 'l2_update')
    this.#timer = new IdleTimer(parts.clock, NEED_CHECK_DELAY, () => this.#becameIdle())
  }

  /** Guest bytes. */
  get size(): number {
    return this.header.imageSize
  }
  get clusterSize(): number {
    return this.header.clusterSize
  }
  /** Bytes of an L1 or L2 table. */
  get tableBytes(): number {
    return this.header.tableSize * this.header.clusterSize
  }
  /** Guest bytes that one L2 table describes. */
  get l2Coverage(): number {
    return (this.tableBytes / 8) * this.clusterSize
  }
  /** The need-check bit is on disk. */
  get needCheck(): boolean {
    return (this.header.features & Feature.needCheck) !== 0n
  }

  /** Whether a cluster may be at a host offset (bytes). */
  isCluster(offset: number): boolean {
    return isClusterOffset(this.header, this.end, offset)
  }

  /** Whether a table may be at a host offset (bytes). */
  isTable(offset: number): boolean {
    return isTableOffset(this.header, this.end, offset)
  }

  /**
   * Determines the end of the whole clusters: one that lacks a sector does not count, a partial sector does.
   */
  measureFile(): void {
    this.#isTrimmed = false
    this.#released = []
    this.end = alignDown(alignUp(this.file.size, SECTOR), this.clusterSize)
  }

  /**
   * Allocates host bytes behind the end of the file, or released ones. Nothing points at them yet. Runs under
   * the lock.
   *
   * @returns their offset, and whether old content may appear there after a crash
   */
  async append(bytes: number): Promise<{ readonly offset: number; readonly isUsed: boolean }> {
    if (!this.#isTrimmed) await this.#trim()
    await this.cut()
    const index = this.#released.findIndex((hole) => hole.bytes >= bytes)
    const hole = this.#released[index]
    if (hole) {
      const left = { offset: hole.offset + bytes, bytes: hole.bytes - bytes }
      this.#released.splice(index, 1, ...(left.bytes > 0 ? [left] : []))
      return { offset: hole.offset, isUsed: true }
    }
    const offset = this.end
    this.end += bytes
    return { offset, isUsed: offset < this.#usedTo }
  }

  /**
   * Releases bytes from {@link append} to which nothing points, whatever was written to them: without
   * refcounts, they could never be found again. Runs under the lock; does not fail, because a request has
   * failed already.
   */
  async release(offset: number, bytes: number): Promise<void> {
    this.#released.push({ offset, bytes })
    const before = this.end
    for (;;) {
      const last = this.#released.findIndex((hole) => hole.offset + hole.bytes === this.end)
      if (last < 0) break
      this.end = this.#released[last]!.offset
      this.#released.splice(last, 1)
    }
    if (this.end === before) return
    this.#usedTo = Math.max(this.#usedTo, before)
    this.#isTooLong = true
    await this.cut()
  }

  /** Cuts off released clusters at the end; if that fails, the next call tries again. Runs under the lock. */
  async cut(): Promise<void> {
    if (!this.#isTooLong) return
    try {
      if (this.file.size > this.end) await this.file.truncate(this.end, { exact: false })
      this.#isTooLong = false
    } catch {
      // They are overwritten, or stay as a leak.
    }
  }

  /**
   * Orders writes before an L2 entry points at clusters whose data was written, but not flushed. Runs under
   * the lock.
   *
   * @param dataFirst the clusters held something else before
   */
  async beforeLink(dataFirst = false): Promise<void> {
    if (this.backing || dataFirst) this.l2Tables.followData()
    if (!this.backing) await this.#markNeedCheck()
  }

  /** Writes the tables in their order, and makes everything durable. Takes the lock for the first part. */
  async flush(): Promise<void> {
    await this.lock.run(() => this.writeTables())
    await this.flushFile()
  }

  /** Writes the tables, which become durable with {@link flushFile}. Runs under the lock. */
  async writeTables(): Promise<void> {
    if (this.#headerIsUnsure) await this.writeHeader(this.header)
    await this.l2Tables.writeBack()
    await this.l1Table.writeBack()
  }

  /** Makes completed writes to the file durable. */
  async flushFile(): Promise<void> {
    const announced = this.file.debugEvent('flush_to_disk')
    if (announced) await announced
    await this.file.flush()
  }

  /** Clears the need-check bit once everything that it covers is durable. Runs under the lock. */
  async markClean(): Promise<void> {
    if (!this.needCheck || this.needsRepair) return
    this.#timer.stop()
    await this.writeTables()
    await this.flushFile()
    // If the write fails, the bit may be gone from the disk: it counts as clear until it is set again.
    this.header = { ...this.header, features: this.header.features & ~Feature.needCheck }
    await this.writeHeader(this.header)
    await this.flushFile()
  }

  /** Writes the header's known fields, and adopts them after success. Does not flush. */
  async writeHeader(header: Header): Promise<void> {
    const bytes = new Uint8Array(HEADER_BYTES)
    HEADER.write(bytes, header)
    this.#headerIsUnsure = true
    await this.file.write(0, bytes)
    this.#headerIsUnsure = false
    this.header = header
  }

  /** Forgets all tables, and stops the timer. */
  drop(): void {
    this.#timer.stop()
    this.l1Table.clear()
    this.l2Tables.clear()
  }

  /**
   * Cuts off the part of a cluster that a crash left behind the end: if a later write there is lost in
   * another crash, zeroes have to be there.
   */
  async #trim(): Promise<void> {
    if (this.file.size > this.end) {
      await this.file.truncate(this.end, { exact: false })
      await this.flushFile()
    }
    this.#isTrimmed = true
  }

  /**
   * Sets the need-check bit and flushes, if it is not set; QEMU omits the flush, and relies on the disk to
   * keep the order.
   */
  async #markNeedCheck(): Promise<void> {
    this.#timer.restart()
    if (this.needCheck) return
    const before = this.header
    await this.writeHeader({ ...before, features: before.features | Feature.needCheck })
    try {
      await this.flushFile()
    } catch (error) {
      // A bit that may not be durable counts as not set.
      this.header = before
      this.#headerIsUnsure = true
      throw error
    }
  }

  /** A failure leaves the bit set; the next allocation or the shutdown tries again. */
  async #becameIdle(): Promise<void> {
    await this.lock.run(() => this.markClean()).catch(() => undefined)
  }
}
