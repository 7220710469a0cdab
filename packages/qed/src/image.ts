/**
 * One open QED image: its header, its tables, where the file ends, and the bit that says whether a crash now would
 * need a check. QED counts no references: what is behind the last cluster is free, and so its file's length is
 * metadata.
 *
 *     allocate   need-check bit -> L2 entry   (without backing file; flushed once, then nothing more to wait for)
 *     allocate   data, copies   -> L2 entry   (with a backing file: lost data would read as zeroes, not as it was)
 *     new table  zeroed table   -> L1 entry
 *     clean      everything     -> need-check bit cleared
 *
 * `->` is a host flush in between. After a crash, entries may point at or beyond the end of the file, only under
 * the bit; their data never was flushed, and the check turns them into unallocated ones.
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
} from '@vmblock/block-core'
import {
  Feature,
  HEADER,
  HEADER_BYTES,
  type Header,
  isClusterOffset,
  isTableOffset,
} from './format/header.ts'
import { IdleTimer, type QedClock } from './idle-timer.ts'

/** What an image is made of. */
export interface ImageParts {
  readonly nodeName: string
  readonly header: Header
  readonly file: BlockChild
  /** What the header says of the backing file. */
  readonly backingName: string | undefined
  readonly writable: boolean
  readonly events: DriverEvents
  readonly clock: QedClock
}

/** Bytes of a piece of a table in the caches: 512 entries. */
const SLICE = 4096
/** Bytes of L2 tables that are kept: those of 256 GiB in clusters of 64 KiB. */
const L2_CACHE = 32 * 2 ** 20
/** Bytes of the L1 table that are kept: those of 256 TiB in clusters of 64 KiB. */
const L1_CACHE = 2 ** 20
/** Milliseconds without an allocation after which the image is marked clean. QEMU's figure. */
const NEED_CHECK_DELAY = 5000

/** State shared by the verbs (read, write, check, ...). Changes to it happen under {@link Image.lock}. */
export class Image {
  readonly nodeName: string
  readonly file: BlockChild
  readonly events: DriverEvents
  readonly l1Table: TableCache
  readonly l2Tables: TableCache
  /** Guards the tables, the header and the end of the file; never held over guest data I/O. */
  readonly lock = new Mutex()
  /** Guest ranges being allocated or zeroed. Taken before {@link lock}. */
  readonly allocating = new RangeTracker()
  /** The node below that shows through where the image holds nothing. */
  backing: BlockChild | undefined
  /** As on disk. */
  header: Header
  backingName: string | undefined
  writable: boolean
  /** Host bytes: whole clusters of the file, and those reserved behind it. Here the next cluster will be. */
  end = 0
  /** The need-check bit was found set and no repair has run since: nobody else may clear it. */
  needsRepair: boolean
  /** Nothing is left behind {@link end} that was not written through this object. */
  #isTrimmed = false
  /** Host bytes before which something was written and given back: cut off, it may come back in a crash. */
  #usedTo = 0
  /** The file may reach behind {@link end} with what was given back. */
  #isTooLong = false
  /** Host bytes before {@link end} that were given back: whole clusters, of which nobody knows what they hold. */
  #released: { readonly offset: number; readonly bytes: number }[] = []
  /** Nobody knows what header the disk has, because writing it failed. */
  #headerIsUnsettled = false
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

  /** Finds out where the file ends: a cluster that lacks a sector is not there. Of the last sector a byte is enough. */
  measureFile(): void {
    this.#isTrimmed = false
    this.#released = []
    this.end = alignDown(alignUp(this.file.size, SECTOR), this.clusterSize)
  }

  /**
   * Takes host bytes behind the end of the file, or some that were given back. Nothing points at them yet. Runs under
   * the lock.
   *
   * @returns their offset, and whether something else may show there after a crash
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
   * Gives back what {@link append} gave and nothing points at, with what was written of it: nothing counts references,
   * and so nothing else would ever find it again. Runs under the lock; does not fail, for a request has failed already.
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

  /** Cuts off what was given back at the end; where that fails, the next to call this tries again. Runs under the lock. */
  async cut(): Promise<void> {
    if (!this.#isTooLong) return
    try {
      if (this.file.size > this.end) await this.file.truncate(this.end, { exact: false })
      this.#isTooLong = false
    } catch {
      // It is written over, or stays as a leak.
    }
  }

  /**
   * Before an L2 entry may point at clusters whose data was written, but not flushed. Runs under the lock.
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

  /** Writes the tables; durable they are after {@link flushFile}. Runs under the lock. */
  async writeTables(): Promise<void> {
    if (this.#headerIsUnsettled) await this.writeHeader(this.header)
    await this.l2Tables.writeBack()
    await this.l1Table.writeBack()
  }

  /** Makes durable what was written to the file. */
  async flushFile(): Promise<void> {
    const announced = this.file.debugEvent('flush_to_disk')
    if (announced) await announced
    await this.file.flush()
  }

  /** Clears the need-check bit after everything it vouches for is durable. Runs under the lock. */
  async markClean(): Promise<void> {
    if (!this.needCheck || this.needsRepair) return
    this.#timer.stop()
    await this.writeTables()
    await this.flushFile()
    // If this fails the bit may be gone from the disk: nobody may count on it before it is set again.
    this.header = { ...this.header, features: this.header.features & ~Feature.needCheck }
    await this.writeHeader(this.header)
    await this.flushFile()
  }

  /** Writes the header's known fields, and takes them over after success. Does not flush. */
  async writeHeader(header: Header): Promise<void> {
    const bytes = new Uint8Array(HEADER_BYTES)
    HEADER.write(bytes, header)
    this.#headerIsUnsettled = true
    await this.file.write(0, bytes)
    this.#headerIsUnsettled = false
    this.header = header
  }

  /** Forgets all tables, and does nothing of its own accord any more. */
  drop(): void {
    this.#timer.stop()
    this.l1Table.clear()
    this.l2Tables.clear()
  }

  /**
   * Cuts off part of a cluster that a crash left behind the end: if a write to that place is lost in another
   * crash, zeroes have to be there.
   */
  async #trim(): Promise<void> {
    if (this.file.size > this.end) {
      await this.file.truncate(this.end, { exact: false })
      await this.flushFile()
    }
    this.#isTrimmed = true
  }

  /** Sets the need-check bit and flushes, once; QEMU leaves out the flush, and trusts the disk to keep order. */
  async #markNeedCheck(): Promise<void> {
    this.#timer.restart()
    if (this.needCheck) return
    const before = this.header
    await this.writeHeader({ ...before, features: before.features | Feature.needCheck })
    try {
      await this.flushFile()
    } catch (error) {
      // What is not known to be durable counts as not set.
      this.header = before
      this.#headerIsUnsettled = true
      throw error
    }
  }

  /** Failing leaves the bit, which the next allocation or the shutdown tries again. */
  async #becameIdle(): Promise<void> {
    await this.lock.run(() => this.markClean()).catch(() => undefined)
  }
}
