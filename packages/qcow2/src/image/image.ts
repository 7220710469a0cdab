/** One open qcow2 image: its header, tables, caches and locks, and the bits that mark it dirty or corrupt. */
import {
  alignDown,
  alignUp,
  type BlockChild,
  BlockError,
  type DriverEvents,
  Mutex,
  RangeTracker,
  SECTOR,
  TableCache,
  viewOf,
} from '@vmblock/block-core'
import type { ClusterCodec } from '../compression/codec.ts'
import { DecompressedClusters } from '../compression/decompressed-clusters.ts'
import { Incompatible } from '../format/features.ts'
import { type Geometry, l1EntriesFor } from '../format/geometry.ts'
import { HEADER_FIELD, type Header, serializeHeader } from '../format/header.ts'
import { Metadata } from '../format/metadata.ts'
import type { SnapshotPlaces } from '../format/places.ts'
import { type RefcountAccess, refcountAccess } from '../format/refcount-width.ts'
import { CacheCleaner } from './cache-cleaner.ts'
import { RequestEpochs } from './epochs.ts'
import { KnownFreeRuns } from './free-runs.ts'
import { PendingFrees } from './frees.ts'
import { OverlapChecks } from './overlap.ts'
import { Reservation } from './reservation.ts'
import { ResidentTable } from './resident-table.ts'
import { beforeClean } from './write-order.ts'

/** What an image is opened with; the driver's options, resolved. */
export interface ImageSettings {
  readonly nodeName: string
  readonly filename: string
  readonly readOnly: boolean
  readonly checkMode: boolean
  /** Refcount updates may be postponed. */
  lazyRefcounts: boolean
  /** Clusters whose refcounts are raised ahead of their use (reservation.ts); 0: none. */
  refcountReserve: number
  /** Bytes of freed clusters that may wait for a flush (room.ts). */
  freedClustersSize: number
  /** Whether the host hears of clusters that become free, by reason. */
  passDiscard: Readonly<Record<'request' | 'snapshot' | 'other', boolean>>
  /** Classes of metadata that are protected from other writes, as bits (overlap.ts). */
  overlapCheck: number
  caches: CacheSettings
}

/** Sizes of the table caches. */
export interface CacheSettings {
  /** Bytes of an L2 or refcount slice. */
  readonly sliceSize: number
  /** Bytes the L2 cache, and the refcount cache, may hold. */
  readonly l2CacheSize: number
  readonly refcountCacheSize: number
  /** Seconds after which unused slices are dropped; 0: never. */
  readonly cleanInterval: number
}

/** What {@link Image} is made of. */
export interface ImageParts {
  readonly settings: ImageSettings
  readonly header: Header
  readonly geometry: Geometry
  readonly file: BlockChild
  /** Where guest data lives: `file`, or the external data file. */
  readonly data: BlockChild
  readonly codec: ClusterCodec
  readonly events: DriverEvents
  /** The L1 table, as on disk. */
  readonly l1: Uint8Array
  /** The refcount table, as on disk. */
  readonly refcountTable: Uint8Array
  /** Finds what snapshots keep in the file. */
  snapshotPlaces(image: Image): Promise<SnapshotPlaces>
}

/** By how many bytes the file of a lazy image grows at a time: its own size, within these bounds. */
const EXTENSION = { least: 16 * 2 ** 20, most: 64 * 2 ** 20 }

/** What everything else is found through: the header, and the tables that it leads to. */
type Root = 'header' | 'refcountTable'

/** A request that may find room if it is made again. */
export interface FailedRequest {
  readonly error: unknown
  /** {@link PendingFrees.released} when it began. */
  readonly released: number
  /** How often it failed before. */
  readonly tries: number
}

/** State shared by the verbs (read, write, discard, ...). Changes to it happen under {@link Image.lock}. */
export class Image {
  readonly settings: ImageSettings
  readonly header: Header
  readonly geometry: Geometry
  readonly file: BlockChild
  readonly data: BlockChild
  readonly codec: ClusterCodec
  readonly events: DriverEvents
  readonly refcounts: RefcountAccess
  l2Tables: TableCache
  refblocks: TableCache
  readonly overlaps: OverlapChecks
  readonly decompressed: DecompressedClusters
  readonly #snapshotPlaces: ImageParts['snapshotPlaces']
  readonly #cleaner = new CacheCleaner()
  /** Guards the tables and the allocator; never held over guest data I/O. Taken after {@link allocating}. */
  readonly lock = new Mutex()
  /** Guest ranges being allocated, zeroed or discarded. */
  readonly allocating = new RangeTracker()
  readonly requests = new RequestEpochs()
  readonly frees = new PendingFrees(this.requests)
  /** Makes a write again that found no room (try-again.ts). @throws what it failed with, in the end */
  writeAgain: (failed: FailedRequest, offset: number, from: Uint8Array) => Promise<void> = ({ error }) =>
    Promise.reject(error)
  /** A flush that was begun for the sake of {@link frees}, and serves every request that waits for room (room.ts). */
  relief: Promise<void> | undefined
  /** Counts the changes after which guest ranges no longer show what is in their clusters, but may fill them again. */
  unlinked = 0
  /** The node may be written now; a reopen changes it. */
  writable: boolean
  /** The node below that shows through where the image holds nothing. A reopen or commit may exchange it. */
  backing: BlockChild | undefined
  l1: ResidentTable
  refcountTable: ResidentTable
  /** Clusters below this index are taken: where the search for free ones begins. */
  freeHint = 0
  /** Whether the file knows better where there is data; undefined: nobody asked yet (sparse.ts). */
  isMostlyHoles: Promise<boolean> | undefined
  readonly reservation = new Reservation()
  readonly freeRuns = new KnownFreeRuns()
  /** Host bytes at and above this offset were never written, so that they read as zeroes. */
  untouchedFrom: number
  /** The dirty bit was found set and no complete repair has run since: nobody else may clear it. */
  needsRepair: boolean
  /**
   * While a repair cuts the table of snapshots: bytes of the file when it began. What reaches further is not of the table.
   */
  snapshotTableLimit: number | undefined
  /** Host bytes up to which the file's length is durable, as far as lazy refcounts need to know. */
  #coveredTo = 0
  /** Clusters were given away since the image was opened, so that the last one may have been written in part. */
  #hasClaimed = false
  /** The file is longer than it has to be. */
  #extended = false
  /** Roots of which nobody knows whether the disk has them as they are here, because writing them failed. */
  readonly #unsettled = new Set<Root>()
  /** Told of corruption once; then the image stops writing. */
  #corruptionSignalled = false
  #stopped = false

  constructor(parts: ImageParts) {
    const { settings, header, geometry, file } = parts
    this.settings = settings
    this.header = header
    this.geometry = geometry
    this.file = file
    this.data = parts.data
    this.codec = parts.codec
    this.decompressed = new DecompressedClusters(parts.geometry.clusterSize)
    this.#snapshotPlaces = parts.snapshotPlaces
    this.events = parts.events
    this.writable = !settings.readOnly
    this.l1 = new ResidentTable(parts.l1)
    this.refcountTable = new ResidentTable(parts.refcountTable)
    this.refcounts = refcountAccess(geometry.refcountOrder)
    this.needsRepair = this.dirty
    this.untouchedFrom = Math.ceil(file.size / geometry.clusterSize) * geometry.clusterSize
    this.overlaps = new OverlapChecks(this)
    this.l2Tables = this.#newCache('l2')
    this.refblocks = this.#newCache('refcount')
  }

  /** Replaces the table caches by empty ones of the sizes that {@link settings} give. They must not be dirty. */
  renewCaches(): void {
    this.freeRuns.clear()
    this.l2Tables = this.#newCache('l2')
    this.refblocks = this.#newCache('refcount')
    this.#cleaner.start(this.settings.caches.cleanInterval, () => [this.l2Tables, this.refblocks])
  }

  /** Forgets all tables, dirty or not. */
  dropCaches(): void {
    this.#cleaner.stop()
    this.l2Tables.clear()
    this.forgetRefcounts()
  }

  /** Forgets all refcounts in memory, changed or not: they were written anew behind the cache's back. */
  forgetRefcounts(): void {
    this.decompressed.clear()
    this.refblocks.clear()
    this.freeRuns.clear()
  }

  #newCache(tables: 'l2' | 'refcount'): TableCache {
    const { sliceSize, l2CacheSize, refcountCacheSize } = this.settings.caches
    const isL2 = tables === 'l2'
    const own = isL2 ? Metadata.activeL2 : Metadata.refcountBlock
    return new TableCache({
      file: this.file,
      sliceSize,
      tableSize: this.geometry.clusterSize,
      capacity: Math.floor((isL2 ? l2CacheSize : refcountCacheSize) / sliceSize),
      events: isL2
        ? { load: 'l2_load', update: 'l2_update' }
        : { load: 'refblock_load', update: 'refblock_update_part' },
      flushData: () => this.data.flush(),
      beforeWrite: (offset, bytes) => this.overlaps.guard(offset, bytes, own),
    })
  }

  /** The image was found corrupt while it was writable: nothing of it is written any more. */
  get stopped(): boolean {
    return this.#stopped
  }

  /** @see overlap.ts */
  snapshotPlaces(): Promise<SnapshotPlaces> {
    return this.#snapshotPlaces(this)
  }

  /** Guest bytes: whole sectors. A header of another program may name a size between two, which QEMU rounds down. */
  get size(): number {
    return alignDown(this.header.size, SECTOR)
  }
  /** Guest offset in bytes where the VM state area begins: behind the last L2 table of the disk. */
  get vmStateOffset(): number {
    return l1EntriesFor(this.geometry, this.header.size) * this.geometry.l2Coverage
  }
  /** Guest data lives in a file of its own, at its guest offset. */
  get hasDataFile(): boolean {
    return this.data !== this.file
  }
  /** Autoclear bit 1: the data file alone is a raw image, so what reads as zero must be zero in it. */
  get isDataFileRaw(): boolean {
    return this.hasDataFile && (this.header.autoclear & 2n) !== 0n
  }
  get extendedL2(): boolean {
    return this.geometry.subclusters > 1
  }
  /** Somebody below listens to the steps that are announced. */
  get isDebugged(): boolean {
    return this.file.node.ops.debugEvent !== undefined
  }
  /** The dirty bit is on disk. */
  get dirty(): boolean {
    return (this.header.incompatible & Incompatible.dirty) !== 0n
  }
  /** Refcount updates may be postponed. Version 2 has no dirty bit to say so. */
  get lazyRefcounts(): boolean {
    return this.settings.lazyRefcounts && this.header.version >= 3
  }

  /** @see write-order.ts */
  async flushFile(): Promise<void> {
    const announced = this.file.debugEvent('flush_to_disk')
    if (announced) await announced
    const reached = this.file.size
    // Through the cache, so that it knows: what is durable has not to be waited for.
    await this.refblocks.flush()
    this.#coveredTo = Math.max(this.#coveredTo, Math.min(reached, this.file.size))
  }

  /** Sets the dirty bit and flushes, once. Only after success is the image treated as dirty. */
  async markDirty(): Promise<void> {
    if (this.dirty) return
    await this.#extendFile(this.untouchedFrom)
    await this.#writeIncompatible(this.header.incompatible | Incompatible.dirty)
    await this.flushFile()
    this.header.incompatible |= Incompatible.dirty
  }

  /** @see write-order.ts */
  isCovered(end: number): boolean {
    return end <= this.#coveredTo
  }

  /** @see write-order.ts. The extra length is cut off when the image is marked clean. */
  async coverFile(end: number): Promise<boolean> {
    if (this.isCovered(end)) return true
    const reached = await this.#extendFile(end)
    if (reached < end) return false
    await this.flushFile()
    return true
  }

  /** Makes the file reach `end` and a good deal more, so that it is rarely done. @returns how far it reaches now */
  async #extendFile(end: number): Promise<number> {
    const { size } = this.file
    const step = Math.min(Math.max(size, EXTENSION.least), EXTENSION.most)
    const target = alignUp(end, this.geometry.clusterSize) + alignUp(step, this.geometry.clusterSize)
    return (await this.reachFile(target)) ? target : 0
  }

  /**
   * Makes the file reach `end`, and over every cluster that is in use: what was never written there reads as zeroes.
   * Not durably. What is not needed is cut off by {@link trimFile}.
   *
   * @returns false where the host cannot
   */
  async reachFile(end: number): Promise<boolean> {
    // Data may be on its way to any cluster that was given away: the file must not end before it.
    const target = Math.max(end, this.untouchedFrom)
    if (this.file.size >= target) return true
    try {
      await this.file.truncate(target, { exact: false })
    } catch {
      return false
    }
    if (end > this.untouchedFrom) this.#extended = true
    return true
  }

  /**
   * Makes the file end with its last cluster, of which only a part may have been written: other programs take a shorter
   * one for damaged. Not durably, for it reads the same either way; so it costs no flush.
   */
  async completeFile(): Promise<void> {
    if (!this.#hasClaimed || this.file.size >= this.untouchedFrom) return
    await this.reachFile(this.untouchedFrom)
  }

  /** The file ends at `end` now: what comes behind it reads as zeroes, and its length has to be made durable anew. */
  fileWasCut(end: number): void {
    this.untouchedFrom = Math.min(this.untouchedFrom, end)
    this.#coveredTo = Math.min(this.#coveredTo, end)
  }

  /** Cuts off what was added beyond the clusters in use. */
  async trimFile(): Promise<void> {
    if (!this.#extended) return
    this.#extended = false
    this.#coveredTo = 0
    if (this.untouchedFrom < this.file.size)
      await this.file.truncate(this.untouchedFrom, { exact: false }).catch(() => undefined)
  }

  /**
   * Clears the dirty bit, after everything it vouches for is durable. A bit that was found at open stays
   * until a complete repair has run (QEMU clears it at close in any case: lazy-refcounts.md section 3, A).
   */
  async markClean(): Promise<void> {
    if (!this.dirty || this.needsRepair) return
    await this.trimFile()
    await beforeClean(this)
    // If this fails the bit may be gone from the disk: nobody may count on it before it is set again.
    this.header.incompatible &= ~Incompatible.dirty
    await this.changeRoot('header', async () => {
      await this.#writeIncompatible(this.header.incompatible)
      await this.flushFile()
    })
  }

  /** Clears the corrupt bit, after a repair that left nothing to repair. */
  async markConsistent(): Promise<void> {
    if ((this.header.incompatible & Incompatible.corrupt) === 0n) return
    await beforeClean(this)
    await this.#writeIncompatible(this.header.incompatible & ~Incompatible.corrupt)
    await this.flushFile()
    this.header.incompatible &= ~Incompatible.corrupt
  }

  /**
   * The image contradicts itself. Reports it once; if it is fatal and the image is writable, marks it corrupt
   * and stops the node. QEMU's `qcow2_signal_corruption`.
   *
   * @param at host offset and size in bytes of what is broken
   * @returns the error for the request that met it
   */
  async signalCorruption(
    message: string,
    fatal: boolean,
    at?: { offset: number; size?: number },
  ): Promise<BlockError> {
    const stops = fatal && this.writable
    const error = new BlockError('EIO', message, { node: this.settings.nodeName, offset: at?.offset })
    if (this.#corruptionSignalled && !stops) return error
    this.#corruptionSignalled = true
    if (stops) {
      this.events.warn(
        `qcow2: Marking image as corrupt: ${message}; further corruption events will be suppressed`,
      )
      if (this.header.version >= 3 && (this.header.incompatible & Incompatible.corrupt) === 0n) {
        this.header.incompatible |= Incompatible.corrupt
        await this.#writeIncompatible(this.header.incompatible)
          .then(() => this.flushFile())
          .catch(() => undefined)
      }
      this.writable = false
      this.#stopped = true
      this.#cleaner.stop()
    } else {
      this.events.warn(
        `qcow2: Image is corrupt: ${message}; further non-fatal corruption events will be suppressed`,
      )
    }
    this.events.corrupt({ message, fatal: stops, ...at })
    return error
  }

  /**
   * Runs what changes a root on disk. If it fails, the disk may have the new one or the old: what both lead to has to
   * stay until the next flush, which writes again what is in memory.
   */
  async changeRoot(root: Root, change: () => Promise<void>): Promise<void> {
    try {
      await change()
    } catch (error) {
      this.#unsettled.add(root)
      throw error
    }
  }

  /** Writes the roots of which nobody knows what the disk has. Does not flush. */
  async settleRoots(): Promise<void> {
    for (const root of this.#unsettled) {
      if (root === 'header') await this.writeHeader()
      else {
        const { bytes } = this.refcountTable
        await this.writeResident(this.refcountTable, this.header.refcountTableOffset, 0, bytes.length)
      }
      this.#unsettled.delete(root)
    }
  }

  /** Rewrites the header cluster's used part: header, extensions, backing file name. Does not flush. */
  async writeHeader(): Promise<void> {
    await this.file.write(0, serializeHeader(this.header, this.geometry.clusterSize))
  }

  /** Notes that host bytes [offset, offset + bytes) are in use from now on. @returns whether they read as zeroes */
  claim(offset: number, bytes: number): boolean {
    this.#hasClaimed = true
    const zeroed = offset >= this.untouchedFrom
    this.untouchedFrom = Math.max(this.untouchedFrom, offset + bytes)
    return zeroed
  }

  /** The header and the tables were read again: nothing that was known of the file counts any more. */
  refreshed(l1: Uint8Array, refcountTable: Uint8Array): void {
    this.setL1(l1)
    this.setRefcountTable(refcountTable)
    this.l2Tables.clear()
    this.forgetRefcounts()
    this.needsRepair = this.dirty
    this.freeHint = 0
    this.untouchedFrom = alignUp(this.file.size, this.geometry.clusterSize)
  }

  /** Replaces the L1 table in memory; header and disk are the caller's business. */
  setL1(bytes: Uint8Array): void {
    this.l1 = new ResidentTable(bytes)
  }

  /** Replaces the refcount table in memory; header and disk are the caller's business. */
  setRefcountTable(bytes: Uint8Array): void {
    this.refcountTable = new ResidentTable(bytes)
    this.freeRuns.clear()
    this.overlaps.forget()
  }

  /** An L1 entry was changed; it is written with the next flush. @see write-order.ts */
  l1Changed(index: number): void {
    this.l1.changed(index * 8, 8)
  }

  /** @see write-order.ts */
  get hasNewTables(): boolean {
    return this.l1.isDirty
  }

  /** @see write-order.ts */
  writeNewTables(): Promise<void> {
    return this.l1.writeBack(async (from, to) => {
      const announced = this.file.debugEvent('l1_update')
      if (announced) await announced
      await this.writeResident(this.l1, this.header.l1TableOffset, from, to - from)
    })
  }

  /** Writes the sectors of a resident table that hold [from, from + bytes). Offsets count from its start. */
  async writeResident(table: ResidentTable, tableOffset: number, from: number, bytes: number): Promise<void> {
    const start = alignDown(from, SECTOR)
    const end = Math.min(table.bytes.length, alignDown(from + bytes - 1, SECTOR) + SECTOR)
    const own = table === this.l1 ? Metadata.activeL1 : Metadata.refcountTable
    await this.overlaps.guard(tableOffset + start, end - start, own)
    await this.file.write(tableOffset + start, table.bytes.subarray(start, end))
  }

  async #writeIncompatible(bits: bigint): Promise<void> {
    const word = new Uint8Array(8)
    viewOf(word).setBigUint64(0, bits)
    await this.file.write(HEADER_FIELD.incompatible, word)
  }
}
