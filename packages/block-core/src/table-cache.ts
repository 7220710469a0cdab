/**
 * A write-back cache of metadata tables that knows what must reach the disk before it. Formats keep their
 * mapping tables and refcount blocks in it, cut into slices of a few KiB, in disk byte order.
 *
 * The rules that keep it small:
 * - Nobody awaits between {@link TableCache.peek} and the last change to what it returned.
 * - Changes and {@link TableCache.writeBack} happen under the image's lock; lookups need none, because
 *   loading a slice only ever drops clean ones.
 */
import { alignDown, alignUp, SECTOR } from './bits.ts'
import type { BlockChild } from './child.ts'
import type { DebugEvent } from './debug-events.ts'
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
  /** Touched since the last sweep for something to drop. */
  recent: boolean
}

/** A slice on its way in. */
interface Load {
  done: Promise<void>
  /** It was dropped meanwhile: what comes in may be what was there before. */
  isStale: boolean
}

/** What a cache is made of. */
export interface TableCacheOptions {
  readonly file: BlockChild
  /** Bytes of a slice. */
  readonly sliceSize: number
  /** How many slices are kept, dirty ones aside. */
  readonly capacity: number
  /** Bytes of a table, to whose end slices are read ahead when they are wanted in order. Default: a slice. */
  readonly tableSize?: number
  /** The steps to announce to a debugger below. */
  readonly events: { readonly load: DebugEvent; readonly update: DebugEvent }
  /** Makes guest data durable that was written so far: what {@link TableCache.followData} waits for. */
  flushData(): Promise<void>
  /** Called before a slice is written; rejects to refuse (a table must never overwrite other metadata). */
  beforeWrite?(offset: number, bytes: number): Promise<void> | undefined
}

const DONE = Promise.resolve()

/** Slices that are wanted in order are read so many bytes at a time, at most. */
const READ_AHEAD = 64 * 1024

/** See the head of this file. */
export class TableCache {
  readonly sliceSize: number
  readonly #options: TableCacheOptions
  readonly #tables = new Map<number, Table>()
  readonly #dirty = new Set<Table>()
  /** All others, in the order in which they are looked at when one has to go. */
  readonly #clean = new Set<Table>()
  readonly #loading = new Map<number, Load>()
  readonly #follows = new Set<TableCache>()
  #followsData = false
  #capacity: number
  /** Counts written slices; so many of them are durable. */
  #written = 0
  #durable = 0
  #swept = 0
  /** Where a load would go on in order: host offset in bytes. */
  #inOrder = -1
  /** Slices to read at a time. */
  #window = 1

  constructor(options: TableCacheOptions) {
    this.#options = options
    this.sliceSize = options.sliceSize
    this.#capacity = Math.max(options.capacity, 2)
  }

  /** Whether a writer should call {@link writeBack} soon: half of the capacity waits to be written. */
  get isCrowded(): boolean {
    return this.#dirty.size * 2 >= this.#capacity
  }
  /**
   * Whether a writer must not change more before a {@link writeBack} has succeeded: as many slices as are kept wait to
   * be written. So memory stays bounded where writing fails.
   */
  get isFull(): boolean {
    return this.#dirty.size >= this.#capacity
  }
  /** Whether anything waits to be written. */
  get isDirty(): boolean {
    return this.#dirty.size > 0
  }

  /** Whether everything that was ever changed here is durable: then nobody has to wait for it. */
  get isDurable(): boolean {
    return this.#dirty.size === 0 && this.#durable === this.#written
  }

  /** How many slices were looked at so far to find some to drop: what a small cache costs, for tests. */
  get swept(): number {
    return this.#swept
  }

  /** The slice at `offset` (a multiple of the slice size), if it is here. */
  peek(offset: number): Table | undefined {
    const table = this.#tables.get(offset)
    if (table) table.recent = true
    return table
  }

  /**
   * Brings a slice in, and more of its table where slices are asked for in order. Call {@link peek} afterwards, in a
   * loop, instead of using a result: between the end of a load and the caller's next step the slice may have been
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

  /** How many slices from `offset` on are read at once: twice as many each time that they are wanted in order. */
  #slicesToRead(offset: number): number {
    const { sliceSize } = this
    const { tableSize = sliceSize, file } = this.#options
    const isNext = offset === this.#inOrder
    // Tables need not lie one behind the other.
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

  /** A slice that is known to be all zeroes on disk: present without reading it, and clean. */
  createZeroed(offset: number): Table {
    const table = tableOf(offset, new Uint8Array(this.sliceSize))
    this.#insert(table)
    return table
  }

  /** Notes that bytes [from, to) of a slice were changed. */
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

  /** Forgets everything, dirty or not: the tables were rewritten behind the cache's back, or the node crashed. */
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

  /** Forgets clean slices that were not touched since the last call. */
  dropUnused(): void {
    for (const table of this.#clean) {
      if (table.recent) table.recent = false
      else this.#remove(table)
    }
  }

  /**
   * From now on, `first` reaches the disk before anything dirty in this cache.
   *
   * @returns undefined, nothing to await, unless `first` follows this one: then the older half is settled first
   */
  follow(first: TableCache): Promise<void> | undefined {
    if (first.isDurable) return undefined
    if (!first.#comesAfter(this)) {
      this.#follows.add(first)
      return undefined
    }
    return this.#breakCycle(first)
  }

  /** Settles the older half now, even where it has nothing to write yet. */
  async #breakCycle(first: TableCache): Promise<void> {
    await first.writeBack()
    await first.settle()
    this.#follows.add(first)
  }

  /** From now on, guest data written so far reaches the disk before anything dirty in this cache. */
  followData(): void {
    this.#followsData = true
  }

  /**
   * Writes what changed in every dirty slice, after everything this cache follows. Does not flush it.
   * A failed write leaves its slice dirty; what came before it is settled and stays so.
   */
  async writeBack(): Promise<void> {
    if (this.#dirty.size === 0) return
    const { file, events, beforeWrite } = this.#options
    await this.settle()
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

  /** Makes everything durable that this cache follows: then what is dirty in it may be written. */
  async settle(): Promise<void> {
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

  /** Makes what was written back before the call durable, with everything else that was written to the file. */
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
        // Memory of its own, so that it is free again when the slice is dropped.
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
   * Drops clean slices that nobody touched for a while. Dirty ones wait for {@link writeBack}. Who was touched
   * goes to the end of the line: so a slice is passed over once for each time that it was of use.
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
