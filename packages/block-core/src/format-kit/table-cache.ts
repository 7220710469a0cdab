/**
 * A write-back cache of metadata tables that knows what must reach the disk before them. Formats keep their
 * mapping tables and refcount blocks in it, cut into slices of a few KiB, in disk byte order.
 *
 * The rules that keep it small:
 * - No await between {@link TableCache.peek} and the last change to the slice it returned.
 * - Changes and {@link TableCache.writeBack} happen under the image's lock; lookups need no lock, because
 *   loading a slice only ever drops clean ones.
 */
import { alignDown, alignUp, SECTOR } from '../base/bits.ts'
import type { DebugEvent } from '../contract/debug-events.ts'
import type { BlockChild } from '../contract/node.ts'
import { viewOf } from './layout.ts'

/** One slice of a metadata table: the bytes as they are on disk, decoded on access. */
export interface Table {
  /** Host offset in bytes. */
  readonly offset: number
  readonly bytes: Uint8Array
  readonly view: DataView
  /** Bytes [dirtyFrom, dirtyTo) differ from the disk; empty when clean. */
  dirtyFrom: number
  dirtyTo: number
  /** Used since the last sweep for slices to drop. */
  recent: boolean
}

/** A slice that is being read. */
interface Load {
  done: Promise<void>
  /** The slice was dropped meanwhile: the bytes that arrive may be outdated. */
  isStale: boolean
}

/** How a cache is made. */
export interface TableCacheOptions {
  readonly file: BlockChild
  /** Bytes of a slice. */
  readonly sliceSize: number
  /** How many slices are kept; dirty ones may exceed this. */
  readonly capacity: number
  /** Bytes of a table: sequential loads read ahead to the end of a table at most. Default: a slice. */
  readonly tableSize?: number
  /** The steps to announce to a debugger below. */
  readonly events: { readonly load: DebugEvent; readonly update: DebugEvent }
  /** Makes all guest data written so far durable, for {@link TableCache.followData}. */
  flushData(): Promise<void>
  /** Called before a slice is written, with its place in the file in bytes; rejects to refuse (a table must never overwrite other metadata). */
  beforeWrite?(offset: number, bytes: number): Promise<void> | undefined
}

const DONE = Promise.resolve()

/** Most bytes per read when slices are loaded in order. */
const READ_AHEAD = 64 * 1024

/** A cache of tables in slices: see the head of this file. Offsets in the file, and sizes of slices, are bytes. */
export class TableCache {
  readonly sliceSize: number
  readonly #options: TableCacheOptions
  readonly #tables = new Map<number, Table>()
  readonly #dirty = new Set<Table>()
  /** All other slices, in the order in which they are considered for dropping. */
  readonly #clean = new Set<Table>()
  readonly #loading = new Map<number, Load>()
  readonly #follows = new Set<TableCache>()
  #followsData = false
  #capacity: number
  /** Number of slice writes so far, and how many of these are durable. */
  #written = 0
  #durable = 0
  #swept = 0
  /** Host offset in bytes of the next load if loads are sequential. */
  #inOrder = -1
  /** Slices to read at a time. */
  #window = 1

  constructor(options: TableCacheOptions) {
    this.#options = options
    this.sliceSize = options.sliceSize
    this.#capacity = Math.max(options.capacity, 2)
  }

  /** Whether a writer should call {@link writeBack} soon: half of the capacity is dirty. */
  get isCrowded(): boolean {
    return this.#dirty.size * 2 >= this.#capacity
  }
  /**
   * Whether a writer must not change more before a {@link writeBack} has succeeded: as many slices as the
   * capacity are dirty. This bounds memory while writing fails.
   */
  get isFull(): boolean {
    return this.#dirty.size >= this.#capacity
  }
  /** Whether anything waits to be written. */
  get isDirty(): boolean {
    return this.#dirty.size > 0
  }

  /** Whether all changes made here are durable, so that nothing has to wait for them. */
  get isDurable(): boolean {
    return this.#dirty.size === 0 && this.#durable === this.#written
  }

  /** How many slices were considered for dropping so far: the cost of a small cache, for tests. */
  get swept(): number {
    return this.#swept
  }

  /** The slice at `offset` (a multiple of the slice size), if it is in the cache. */
  peek(offset: number): Table | undefined {
    const table = this.#tables.get(offset)
    if (table) table.recent = true
    return table
  }

  /**
   * Loads a slice, and more of its table if loads are sequential. Call {@link peek} afterwards, in a loop,
   * instead of using a result: between the end of a load and the caller's next step the slice may have been
   * dropped again.
   */
  async load(offset: number): Promise<void> {
    if (this.#tables.has(offset)) return
    await (this.#loading.get(offset)?.done ?? this.#start(offset))
  }

  #start(offset: number): Promise<void> {
    const loads: Load[] = []
    for (let left = this.#slicesToRead(offset); left > 0; left--) {
      const load = { done: DONE, isStale: false }
      this.#loading.set(offset + loads.length * this.sliceSize, load)
      loads.push(load)
    }
    const done = this.#read(offset, loads)
    for (const load of loads) load.done = done
    return done
  }

  /** How many slices from `offset` on are read at once: doubled each time that loads are sequential. */
  #slicesToRead(offset: number): number {
    const { sliceSize } = this
    const { tableSize = sliceSize, file } = this.#options
    const isNext = offset === this.#inOrder
    // Tables need not be contiguous.
    const isNextTable = offset % tableSize === 0 && this.#inOrder % tableSize === 0 && this.#inOrder > 0
    const most = Math.max(1, Math.min(READ_AHEAD / sliceSize, this.#capacity / 4))
    this.#window = isNext || isNextTable ? Math.min(this.#window * 2, most) : 1
    const end = Math.min(alignDown(offset, tableSize) + tableSize, file.size)
    let count = 1
    for (let at = offset + sliceSize; count + 1 <= this.#window && at + sliceSize <= end; at += sliceSize) {
      if (this.#tables.has(at) || this.#loading.has(at)) break
      count++
    }
    this.#inOrder = offset + count * sliceSize
    return count
  }

  /** Adds a slice that is known to be all zeroes on disk, clean and without reading it. */
  createZeroed(offset: number): Table {
    const table = tableOf(offset, new Uint8Array(this.sliceSize))
    this.#insert(table)
    return table
  }

  /** Marks bytes [from, to) of a slice as changed. @throws Error for a slice that was dropped: a fault of the caller */
  changed(table: Table, from: number, to: number): void {
    if (this.#tables.get(table.offset) !== table)
      throw new Error(`table at ${table.offset} was changed after it was dropped`)
    if (from < table.dirtyFrom) table.dirtyFrom = from
    if (to > table.dirtyTo) table.dirtyTo = to
    this.#clean.delete(table)
    this.#dirty.add(table)
  }

  /** Forgets the slices of [offset, offset + bytes), whose clusters were freed, and the changes in them. */
  drop(offset: number, bytes: number): void {
    for (let at = alignDown(offset, this.sliceSize); at < offset + bytes; at += this.sliceSize) {
      const table = this.#tables.get(at)
      if (table) this.#remove(table)
      this.#forgetLoad(at)
    }
  }

  /** Forgets everything, dirty or not: the tables were rewritten without the cache, or the node crashed. */
  clear(): void {
    this.#tables.clear()
    this.#dirty.clear()
    this.#clean.clear()
    for (const offset of this.#loading.keys()) this.#forgetLoad(offset)
    this.#follows.clear()
    this.#followsData = false
  }

  #forgetLoad(offset: number): void {
    const load = this.#loading.get(offset)
    if (!load) return
    load.isStale = true
    this.#loading.delete(offset)
  }

  /** Forgets clean slices that were not used since the last call. */
  dropUnused(): void {
    for (const table of this.#clean) {
      if (table.recent) table.recent = false
      else this.#remove(table)
    }
  }

  /**
   * From now on, changes in `first` reach the disk before anything dirty in this cache.
   *
   * @returns undefined (nothing to await), unless `first` follows this cache: then that older dependency is
   *   resolved first
   */
  follow(first: TableCache): Promise<void> | undefined {
    if (first.isDurable) return undefined
    if (!first.#comesAfter(this)) {
      this.#follows.add(first)
      return undefined
    }
    return this.#breakCycle(first)
  }

  /** Resolves the older dependency now: writes back `first`, or at least makes durable what it follows. */
  async #breakCycle(first: TableCache): Promise<void> {
    await first.writeBack()
    await first.flushDependencies()
    this.#follows.add(first)
  }

  /** From now on, guest data written so far reaches the disk before anything dirty in this cache. */
  followData(): void {
    this.#followsData = true
  }

  /**
   * Writes the changed part of every dirty slice, after making durable everything this cache follows. Does
   * not flush. A failed write leaves its slice dirty; slices written before it stay clean.
   */
  async writeBack(): Promise<void> {
    if (this.#dirty.size === 0) return
    const { file, events, beforeWrite } = this.#options
    await this.flushDependencies()
    const grain = Math.min(Math.max(SECTOR, file.limits.requestAlignment), this.sliceSize)
    const tables =
      this.#dirty.size === 1 ? [...this.#dirty] : [...this.#dirty].sort((a, b) => a.offset - b.offset)
    for (const table of tables) {
      const from = alignDown(table.dirtyFrom, grain)
      const to = Math.min(alignUp(table.dirtyTo, grain), this.sliceSize)
      const refused = beforeWrite?.(table.offset + from, to - from)
      if (refused) await refused
      const announced = file.debugEvent(events.update)
      if (announced) await announced
      await file.write(table.offset + from, table.bytes.subarray(from, to))
      this.#written++
      table.dirtyFrom = this.sliceSize
      table.dirtyTo = 0
      this.#dirty.delete(table)
      this.#clean.add(table)
    }
    this.#trim()
  }

  /** Makes durable everything this cache follows, so that its dirty slices may be written. */
  async flushDependencies(): Promise<void> {
    if (this.#follows.size > 0) {
      for (const first of this.#follows) await first.writeBack()
      for (const first of this.#follows) await first.flush()
      this.#follows.clear()
    }
    if (this.#followsData) {
      await this.#options.flushData()
      this.#followsData = false
    }
  }

  /** Makes slices written back before the call durable, with all other writes to the file. */
  async flush(): Promise<void> {
    const written = this.#written
    await this.#options.file.flush()
    this.#durable = Math.max(this.#durable, written)
  }

  #comesAfter(other: TableCache): boolean {
    for (const first of this.#follows) if (first === other || first.#comesAfter(other)) return true
    return false
  }

  async #read(offset: number, loads: readonly Load[]): Promise<void> {
    const { file, events } = this.#options
    const { sliceSize } = this
    const bytes = new Uint8Array(loads.length * sliceSize)
    try {
      const announced = file.debugEvent(events.load)
      if (announced) await announced
      await file.read(offset, bytes)
      for (const [i, { isStale }] of loads.entries()) {
        const at = offset + i * sliceSize
        if (isStale || this.#tables.has(at)) continue
        // Each slice has its own memory, which is freed when the slice is dropped.
        const own = loads.length === 1 ? bytes : bytes.slice(i * sliceSize, (i + 1) * sliceSize)
        const table = tableOf(at, own)
        table.recent = i === 0
        this.#insert(table)
      }
    } finally {
      for (const [i, { isStale }] of loads.entries())
        if (!isStale) this.#loading.delete(offset + i * sliceSize)
    }
  }

  #insert(table: Table): void {
    this.#tables.set(table.offset, table)
    this.#clean.add(table)
    this.#trim(table)
  }

  #remove(table: Table): void {
    this.#tables.delete(table.offset)
    this.#dirty.delete(table)
    this.#clean.delete(table)
  }

  /**
   * Drops clean slices that were not used recently. Dirty ones wait for {@link writeBack}. A slice that was
   * used goes to the end of the queue: so it survives one pass for each time that it was useful.
   */
  #trim(keep?: Table): void {
    for (const table of this.#clean) {
      if (this.#tables.size <= this.#capacity) return
      this.#swept++
      if (table === keep && this.#clean.size === 1) return
      if (table !== keep && !table.recent) {
        this.#remove(table)
        continue
      }
      if (table !== keep) table.recent = false
      this.#clean.delete(table)
      this.#clean.add(table)
    }
  }
}

function tableOf(offset: number, bytes: Uint8Array): Table {
  return { offset, bytes, view: viewOf(bytes), dirtyFrom: bytes.length, dirtyTo: 0, recent: true }
}
