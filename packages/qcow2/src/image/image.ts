/** One open qcow2 image: its header, tables, caches and locks, and the dirty and corrupt bits. */
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

/** The settings of an image: the driver's options, resolved. */
export interface ImageSettings {
  readonly nodeName: string
  readonly filename: string
  readonly readOnly: boolean
  readonly checkMode: boolean
  /** Refcount updates may be postponed. */
  lazyRefcounts: boolean
  /** Clusters whose refcounts are raised ahead of their use (reservation.ts); 0: none. */
  refcountReserve: number
  /** Bytes of freed clusters that may wait for a flush (room.ts); beyond that, one is made. */
  freedClustersSize: number
  /** Whether clusters that become free are discarded in the file, by reason. */
  passDiscard: Readonly<Record<'request' | 'snapshot' | 'other', boolean>>
  /** Classes of metadata that are protected from stray writes, as bits (overlap.ts). */
  overlapCheck: number
  caches: CacheSettings
}

/** Sizes of the table caches. */
export interface CacheSettings {
  /** Bytes of an L2 or refcount slice. */
  readonly sliceSize: number
  /** Bytes that the L2 cache and the refcount cache may hold. */
  readonly l2CacheSize: number
  readonly refcountCacheSize: number
  /** Seconds after which unused slices are dropped; 0: never. */
  readonly cleanInterval: number
}

/** The parts of an {@link Image}. */
export interface ImageParts {
  readonly settings: ImageSettings
  readonly header: Header
  readonly geometry: Geometry
  readonly file: BlockChild
  /** Holds the guest data: `file`, or the external data file. */
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

/** The file of a lazy image grows by its own size at a time, within these bounds. Bytes. */
const EXTENSION = { least: 16 * 2 ** 20, most: 64 * 2 ** 20 }

/** The structures from which all others are found: the header, and the refcount table it points at. */
type Root = 'header' | 'refcountTable'

/** A request that found no room, and may find some if it is repeated. */
export interface FailedRequest {
  readonly error: unknown
  /** {@link PendingFrees.released} when the request began. */
  readonly released: number
  /** How many times it failed before this. */
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
  /**
   * Guards the tables and the allocator; never held during guest data I/O. Taken after {@link allocating}.
   */
  readonly lock = new Mutex()
  /** Guest ranges being allocated, zeroed or discarded. */
  readonly allocating = new RangeTracker()
  readonly requests = new RequestEpochs()
  readonly frees = new PendingFrees(this.requests)
  /** Repeats a write that found no room (try-again.ts). @throws the last error, if it still finds none */
  writeAgain: (failed: FailedRequest, offset: number, from: Uint8Array) => Promise<void> = ({ error }) =>
    Promise.reject(error)
  /**
   * A release of {@link frees} under way, with a flush if due; requests that wait for room share it
   * (room.ts).
   */
  relief: Promise<void> | undefined
  /**
   * Counts changes to L2 entries that stop showing a host cluster without freeing it (zeroing; with a data
   * file, all of them). I/O that holds no lock compares it before and after.
   */
  unlinked = 0
  /** The node may be written now. A reopen changes it. */
  writable: boolean
  /**
   * The backing node, which shows through where the image holds nothing. A reopen or commit may exchange it.
   */
  backing: BlockChild | undefined
  l1: ResidentTable
  refcountTable: ResidentTable
  /**
   * Index of the cluster at which the search for free ones begins. Free clusters may lie below it: gaps that
   * were too short for a request.
   */
  freeHint = 0
  /** Whether block status is also asked of the file below (sparse.ts); undefined: not determined yet. */
  isMostlyHoles: Promise<boolean> | undefined
  readonly reservation = new Reservation()
  readonly freeRuns = new KnownFreeRuns()
  /** Host bytes at and above this offset were never written, so that they read as zeroes. */
  untouchedFrom: number
  /** The dirty bit was found set, or emptying the image failed: only a complete repair may clear the bit. */
  needsRepair: boolean
  /** While a repair cuts the snapshot table: bytes of the file when it began, the limit of the table. */
  snapshotTableLimit: number | undefined
  /** Host bytes up to which the length of the file is known to be durable (write-order.ts). */
  #coveredTo = 0
  /** Clusters were allocated since the image was opened, so the last one may be only partly written. */
  #hasClaimed = false
  /** The file is longer than its clusters need. */
  #extended = false
  /** Roots whose write failed: the disk may hold them in the old state or in the new one. */
  readonly #unsettled = new Set<Root>()
  /** Corruption was reported: further non-fatal reports are suppressed. */
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

  /**
   * Replaces the table caches with empty ones of the sizes in {@link settings}. The old must not be dirty.
   */
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

  /** Forgets all refcounts in memory, changed or not: those on disk were rewritten without the cache. */
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

  /** The image was found corrupt while it was writable: nothing is written to it any more. */
  get stopped(): boolean {
    return this.#stopped
  }

  /** @see overlap.ts */
  snapshotPlaces(): Promise<SnapshotPlaces> {
    return this.#snapshotPlaces(this)
  }

  /**
   * Guest bytes: whole sectors. QEMU rounds down the size in the header, which another program may have set
   * to any number.
   */
  get size(): number {
    return alignDown(this.header.size, SECTOR)
  }
  /** Guest offset in bytes where the VM state area begins: behind the last L2 table of the disk. */
  get vmStateOffset(): number {
    return l1EntriesFor(this.geometry, this.header.size) * this.geometry.l2Coverage
  }
  /** Guest data is in an external data file, at its guest offset. */
  get hasDataFile(): boolean {
    return this.data !== this.file
  }
  /** Autoclear bit 1: the data file alone is a valid raw image, so zero ranges must be zeroes in it. */
  get isDataFileRaw(): boolean {
    return this.hasDataFile && (this.header.autoclear & 2n) !== 0n
  }
  get extendedL2(): boolean {
    return this.geometry.subclusters > 1
  }
  /** A node below takes debug events. */
  get isDebugged(): boolean {
    return this.file.node.ops.debugEvent !== undefined
  }
  /** The dirty bit is on disk. */
  get dirty(): boolean {
    return (this.header.incompatible & Incompatible.dirty) !== 0n
  }
  /** Refcount updates may be postponed. Never in version 2, which has no dirty bit. */
  get lazyRefcounts(): boolean {
    return this.settings.lazyRefcounts && this.header.version >= 3
  }

  /** @see write-order.ts */
  async flushFile(): Promise<void> {
    const announced = this.file.debugEvent('flush_to_disk')
    if (announced) await announced
    const reached = this.file.size
    // Through the cache, which then knows that its tables are durable.
    await this.refblocks.flush()
    this.#coveredTo = Math.max(this.#coveredTo, Math.min(reached, this.file.size))
  }

  /** Sets the dirty bit and flushes, if it is not set yet. The image counts as dirty only after success. */
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

  /** @see write-order.ts. The extra length is cut off before the dirty bit is cleared. */
  async coverFile(end: number): Promise<boolean> {
    if (this.isCovered(end)) return true
    const reached = await this.#extendFile(end)
    if (reached < end) return false
    await this.flushFile()
    return true
  }

  /**
   * Makes the file reach well beyond `end`, so that this is rarely needed.
   *
   * @returns the offset it is sure to reach; 0 if it cannot grow
   */
  async #extendFile(end: number): Promise<number> {
    const { size } = this.file
    const step = Math.min(Math.max(size, EXTENSION.least), EXTENSION.most)
    const target = alignUp(end, this.geometry.clusterSize) + alignUp(step, this.geometry.clusterSize)
    return (await this.reachFile(target)) ? target : 0
  }

  /**
   * Makes the file reach `end`, and cover every cluster in use; the parts never written read as zeroes. Not
   * durably. {@link trimFile} cuts off the excess.
   *
   * @returns false if the file cannot be extended
   */
  async reachFile(end: number): Promise<boolean> {
    // Data may be in flight to any allocated cluster: the file must not end before it.
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
   * Extends the file to the end of its last cluster, which may have been written in part: other programs take
   * a shorter file for damaged. Not durable: the image reads the same either way, so no flush is made.
   */
  async completeFile(): Promise<void> {
    if (!this.#hasClaimed || this.file.size >= this.untouchedFrom) return
    await this.reachFile(this.untouchedFrom)
  }

  /** The file now ends at `end`: behind it are zeroes, and a new length has to be made durable again. */
  fileWasCut(end: number): void {
    this.untouchedFrom = Math.min(this.untouchedFrom, end)
    this.#coveredTo = Math.min(this.#coveredTo, end)
  }

  /** Cuts the file after the clusters in use, if it was extended beyond them. */
  async trimFile(): Promise<void> {
    if (!this.#extended) return
    this.#extended = false
    this.#coveredTo = 0
    if (this.untouchedFrom < this.file.size)
      await this.file.truncate(this.untouchedFrom, { exact: false }).catch(() => undefined)
  }

  /**
   * Clears the dirty bit, once everything that it covers is durable. If the bit was found set at open, it
   * stays until a complete repair has run (QEMU always clears it at close: lazy-refcounts.md section 3, A).
   */
  async markClean(): Promise<void> {
    if (!this.dirty || this.needsRepair) return
    await this.trimFile()
    await beforeClean(this)
    // If the write fails, the bit may be gone from the disk: it counts as clear until it is set again.
    this.header.incompatible &= ~Incompatible.dirty
    await this.changeRoot('header', async () => {
      await this.#writeIncompatible(this.header.incompatible)
      await this.flushFile()
    })
  }

  /** Clears the corrupt bit, after a repair that fixed everything. */
  async markConsistent(): Promise<void> {
    if ((this.header.incompatible & Incompatible.corrupt) === 0n) return
    await beforeClean(this)
    await this.#writeIncompatible(this.header.incompatible & ~Incompatible.corrupt)
    await this.flushFile()
    this.header.incompatible &= ~Incompatible.corrupt
  }

  /**
   * Reports corruption once. If it is fatal and the image is writable, marks the image corrupt and stops the
   * node. QEMU's `qcow2_signal_corruption`.
   *
   * @param at host offset and size in bytes of the broken structure
   * @returns the error for the request that found it
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
   * Runs a change to a root on disk. If it fails, the disk may hold the new root or the old one: the
   * structures of both must stay until the next flush, which writes the root again from memory.
   */
  async changeRoot(root: Root, change: () => Promise<void>): Promise<void> {
    try {
      await change()
    } catch (error) {
      this.#unsettled.add(root)
      throw error
    }
  }

  /** Writes the roots whose state on disk is unknown. Does not flush. */
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

  /** Rewrites the used part of the header cluster: header, extensions, backing file name. Does not flush. */
  async writeHeader(): Promise<void> {
    await this.file.write(0, serializeHeader(this.header, this.geometry.clusterSize))
  }

  /** Marks host bytes [offset, offset + bytes) as in use. @returns whether they read as zeroes */
  claim(offset: number, bytes: number): boolean {
    this.#hasClaimed = true
    const zeroed = offset >= this.untouchedFrom
    this.untouchedFrom = Math.max(this.untouchedFrom, offset + bytes)
    return zeroed
  }

  /** Replaces everything known of the file after the header and the tables were read again. */
  refreshed(l1: Uint8Array, refcountTable: Uint8Array): void {
    this.setL1(l1)
    this.setRefcountTable(refcountTable)
    this.l2Tables.clear()
    this.forgetRefcounts()
    this.needsRepair = this.dirty
    this.freeHint = 0
    this.untouchedFrom = alignUp(this.file.size, this.geometry.clusterSize)
  }

  /** Replaces the L1 table in memory. The caller updates the header and the disk. */
  setL1(bytes: Uint8Array): void {
    this.l1 = new ResidentTable(bytes)
  }

  /** Replaces the refcount table in memory. The caller updates the header and the disk. */
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

  /** Writes the sectors of a resident table that contain [from, from + bytes), counted from its start. */
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
