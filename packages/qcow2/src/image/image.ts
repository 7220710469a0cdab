/** One open qcow2 image: the state that all requests share, and the objects that look after parts of it. */
import {
  alignDown,
  type BlockChild,
  type ChangeObserver,
  type DriverEvents,
  Mutex,
  RangeTracker,
  SECTOR,
  TableCache,
} from '@vmblock/block-core/driver'
import { Autoclear } from '../format/features.ts'
import type { Geometry } from '../format/geometry.ts'
import type { Header } from '../format/header.ts'
import { Metadata } from '../format/metadata.ts'
import { type RefcountAccess, refcountAccess } from '../format/refcount-width.ts'
import { CacheCleaner } from './cache-cleaner.ts'
import type { ClusterCodec } from './cluster-codec.ts'
import type { SnapshotMetadata } from './cluster-set.ts'
import type { ClusterStore } from './cluster-store.ts'
import { Corruption } from './corruption.ts'
import { DecompressedClusters } from './decompressed-clusters.ts'
import { DirtyBit } from './dirty-bit.ts'
import type { ImageEncryption } from './encryption.ts'
import { RequestEpochs } from './epochs.ts'
import { FileLength } from './file-length.ts'
import { FreeHint } from './free-hint.ts'
import { KnownFreeRuns } from './free-runs.ts'
import { PendingFrees } from './frees.ts'
import { HeaderWriter } from './header-writer.ts'
import { OverlapChecks } from './overlap.ts'
import { Remaps } from './remaps.ts'
import { Reservation } from './reservation.ts'
import { ResidentTable } from './resident-table.ts'
import { Roots } from './roots.ts'

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
  /** Guest data is in an external data file. */
  readonly hasDataFile: boolean
  /** Makes the store for the guest's data. */
  storeOf(image: Image): ClusterStore
  /** Undefined for most images. */
  readonly encryption: ImageEncryption | undefined
  readonly codec: ClusterCodec
  readonly events: DriverEvents
  observe(observer: ChangeObserver): () => void
  /** The L1 table, as on disk. */
  readonly l1: Uint8Array
  /** The refcount table, as on disk. */
  readonly refcountTable: Uint8Array
  /** @throws BlockError EIO if the code cannot be loaded */
  loadMaintenance(): Promise<MaintenanceCode>
}

/** The code that is loaded when an image needs it (maintenance.ts), as far as the image's own parts call it. */
export interface MaintenanceCode {
  /** Repairs an image that is dirty. @throws BlockError if that cannot be done */
  repairDirty(image: Image): Promise<void>
  /** Loads the dirty bitmaps of an image that has some. @throws BlockError */
  openBitmaps(image: Image): Promise<void>
  /** Finds what snapshots keep in the file. */
  loadSnapshotMetadata(image: Image): Promise<SnapshotMetadata>
  serializeHeader(header: Header, clusterSize: number, hasSameName: boolean): Uint8Array
  /** Repeats a request, or a write, that found no room. @throws the last error, if it still finds none */
  tryAgain<T>(image: Image, failed: FailedRequest, run: () => Promise<T>): Promise<T>
  writeAgain(image: Image, failed: FailedRequest, offset: number, from: Uint8Array): Promise<void>
}

/** The dirty bitmaps of an image that may be written, in memory (bitmaps/open-bitmaps.ts). */
export interface ImageBitmaps {
  /** There are none, not even inconsistent ones. */
  readonly isEmpty: boolean
  /** Saves what changed. No request may be in flight. @throws BlockError that says which bitmaps are lost */
  store(): Promise<void>
  /**
   * Called before the disk gets another size, in bytes.
   *
   * @throws BlockError ENOTSUP for an inconsistent bitmap, EFBIG for one that would become too large
   */
  resizing(size: number): Promise<void>
  /** Called when the disk has, or may have, another size. */
  resized(): void
  /** Called when a repair may have changed what the guest sees. @throws the error of the file */
  repaired(): Promise<void>
  /** Forgets them: the image is no longer written. */
  end(): void
}

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
  /** Only {@link headerWriter} changes it. */
  readonly header: Header
  readonly geometry: Geometry
  readonly file: BlockChild
  /** Holds the guest's data. */
  readonly store: ClusterStore
  /** Guest data is in an external data file: then some bits of entries have another meaning. */
  readonly hasDataFile: boolean
  readonly codec: ClusterCodec
  readonly encryption: ImageEncryption | undefined
  readonly events: DriverEvents
  readonly refcounts: RefcountAccess
  l2Tables: TableCache
  refblocks: TableCache
  readonly roots = new Roots()
  readonly headerWriter: HeaderWriter
  readonly dirtyBit: DirtyBit
  readonly corruption: Corruption
  readonly fileLength: FileLength
  readonly overlaps: OverlapChecks
  readonly decompressed: DecompressedClusters
  readonly loadMaintenance: ImageParts['loadMaintenance']
  readonly cleaner = new CacheCleaner()
  /**
   * Guards the tables and the allocator; never held during guest data I/O. Taken after {@link allocating}.
   */
  readonly lock = new Mutex()
  /** Guest ranges being allocated, zeroed or discarded. */
  readonly allocating = new RangeTracker()
  readonly requests = new RequestEpochs()
  readonly frees = new PendingFrees(this.requests)
  /**
   * A release of {@link frees} under way, with a flush if due; requests that wait for room share it
   * (room.ts).
   */
  relief: Promise<void> | undefined
  readonly remaps = new Remaps()
  /** The node may be written now. A reopen changes it. */
  writable: boolean
  /**
   * The backing node, which shows through where the image holds nothing. A reopen or commit may exchange it.
   */
  backing: BlockChild | undefined
  l1: ResidentTable
  refcountTable: ResidentTable
  /** Whether block status is also asked of the file below (sparse.ts); undefined: not determined yet. */
  isMostlyHoles: Promise<boolean> | undefined
  readonly reservation = new Reservation()
  readonly freeHint = new FreeHint()
  readonly freeRuns = new KnownFreeRuns()
  /** Undefined as long as there are none, and in an image that is not written. */
  bitmaps: ImageBitmaps | undefined
  /** Tells of the changes of this image's node: see {@link OpenContext.observe}. */
  readonly observe: ImageParts['observe']
  /** While a repair cuts the snapshot table: bytes of the file when it began, the limit of the table. */
  snapshotTableLimit: number | undefined

  constructor(parts: ImageParts) {
    const { settings, header, geometry, file } = parts
    this.settings = settings
    this.header = header
    this.geometry = geometry
    this.file = file
    this.hasDataFile = parts.hasDataFile
    this.encryption = parts.encryption
    this.store = parts.storeOf(this)
    this.codec = parts.codec
    this.decompressed = new DecompressedClusters(parts.geometry.clusterSize)
    this.loadMaintenance = parts.loadMaintenance
    this.events = parts.events
    this.observe = parts.observe
    this.writable = !settings.readOnly
    this.l1 = new ResidentTable(parts.l1)
    this.refcountTable = new ResidentTable(parts.refcountTable)
    this.refcounts = refcountAccess(geometry.refcountOrder)
    this.headerWriter = new HeaderWriter(this, header)
    this.fileLength = new FileLength(file, geometry.clusterSize, () => this.flushFile())
    this.dirtyBit = new DirtyBit(this)
    this.corruption = new Corruption(this)
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
    this.cleaner.start(this.settings.caches.cleanInterval, () => [this.l2Tables, this.refblocks])
  }

  /** Forgets all tables, dirty or not. */
  dropCaches(): void {
    this.cleaner.stop()
    this.l2Tables.clear()
    this.forgetRefcounts()
  }

  /** Forgets all refcounts in memory, changed or not: those on disk were rewritten without the cache. */
  forgetRefcounts(): void {
    this.decompressed.clear()
    this.refblocks.clear()
    this.freeHint.moveTo(0)
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
      flushData: () => this.store.flush(),
      beforeWrite: (offset, bytes) => this.overlaps.guard(offset, bytes, own),
    })
  }

  /** @see overlap.ts */
  async snapshotMetadata(): Promise<SnapshotMetadata> {
    return (await this.loadMaintenance()).loadSnapshotMetadata(this)
  }

  /**
   * Guest bytes: whole sectors. QEMU rounds down the size in the header, which another program may have set
   * to any number.
   */
  get size(): number {
    return alignDown(this.header.size, SECTOR)
  }
  /** Autoclear bit 1: the data file alone is a valid raw image, so zero ranges must be zeroes in it. */
  get isDataFileRaw(): boolean {
    return this.hasDataFile && (this.header.autoclear & Autoclear.dataFileRaw) !== 0n
  }
  get extendedL2(): boolean {
    return this.geometry.subclusters > 1
  }
  /** A node below takes debug events. */
  get isDebugged(): boolean {
    return this.file.node.ops.debugEvent !== undefined
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
    this.fileLength.flushed(reached)
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
}
