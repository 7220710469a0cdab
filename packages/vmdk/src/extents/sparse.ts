/**
 * A sparse extent: grains that are found through a directory of tables. What makes it safe to lose power:
 *
 *     allocate    data, copies -> table entry
 *     new table   zeroed table -> directory entry
 *     stream      data, tables, directory -> footer
 *
 * `->` is a flush of the file in between. Grains are appended and never given back, so a crash leaks what was not linked. Entries
 * are changed in memory, and written by a flush: first in the redundant tables, then in those that readers use.
 */
import {
  alignUp,
  type BlockChild,
  BlockError,
  Mutex,
  RangeTracker,
  SECTOR,
  TableCache,
  viewOf,
} from '@vmblock/block-core/driver'
import type { SparseHeader } from '../format/sparse-header.ts'
import type { Parent } from '../parent.ts'
import type { DecodedGrains } from './decoded-grains.ts'
import type { Extent } from './extent.ts'
import { ENTRY, TableLog } from './table-log.ts'
import { highestEntry } from './walk-tables.ts'

/** Bytes of grain tables that are cached: those of 512 GiB in grains of 64 KiB. */
const CACHE = 32 * 2 ** 20
/** Where a file of 32-bit sector numbers ends, in bytes. */
const REACH = 2 ** 32 * SECTOR
/** Tables that are made one after another lie together in a piece of this many bytes. */
const TABLE_ROOM = 65536

/** See the head of this file. Changes of tables and of the end of the file happen under {@link lock}. */
export class SparseExtent {
  readonly type: string
  readonly start: number
  readonly bytes: number
  readonly file: BlockChild
  readonly header: SparseHeader
  readonly parent: Parent
  /** Sectors of the grain tables; 0: there is none. */
  readonly directory: Uint32Array
  /** Sectors of their copies. */
  readonly redundant: Uint32Array | undefined
  readonly tables: TableCache
  /** The tables of a stream, which are appended anew by each flush. */
  readonly log: TableLog | undefined
  readonly lock = new Mutex()
  /** Ranges of the extent that are being allocated. Taken before {@link lock}. */
  readonly allocating = new RangeTracker()
  /** Grains that were decompressed last. */
  decoded: DecodedGrains | undefined
  /** Host bytes: where the next grain goes, once it is known. */
  #end: number | undefined
  #tableRoom = { offset: 0, bytes: 0 }
  /** Changed bytes [from, to) of tables, by index in the directory. */
  readonly #changed = new Map<number, { from: number; to: number }>()

  constructor(
    place: Pick<Extent, 'type' | 'start'>,
    file: BlockChild,
    header: SparseHeader,
    directories: { readonly primary: Uint32Array; readonly redundant: Uint32Array | undefined },
    parent: Parent,
  ) {
    this.type = place.type
    this.start = place.start
    this.bytes = header.capacity
    this.file = file
    this.header = header
    this.parent = parent
    this.directory = directories.primary
    this.redundant = directories.redundant
    this.log = header.isStream ? new TableLog(this) : undefined
    this.tables = new TableCache({
      file,
      sliceSize: this.tableBytes,
      capacity: CACHE / this.tableBytes,
      events: { load: 'l2_load', update: 'l2_update' },
      flushData: () => file.flush(),
    })
  }

  get grainSize(): number {
    return this.header.grainSize
  }
  get isCompressed(): boolean {
    return this.header.isCompressed
  }
  /** Bytes of a grain table, in whole sectors. */
  get tableBytes(): number {
    return alignUp(this.header.tableEntries * ENTRY, SECTOR)
  }
  /** Bytes of the extent that one table describes. */
  get coverage(): number {
    return this.header.tableEntries * this.grainSize
  }

  /** Writes the tables in their order, and makes everything durable. */
  async flush(): Promise<void> {
    await this.lock.run(() => (this.log ? this.log.write() : this.writeTables()))
    await this.file.flush()
  }

  drop(): void {
    this.tables.clear()
    this.#changed.clear()
    this.decoded = undefined
  }

  requireWritable(): void {
    const { kind, version, isCompressed } = this.header
    if (kind === 'cowd') throw new BlockError('ENOTSUP', 'COWD extents can only be read')
    // The bytes behind the header's version say which grains changed: a writer would have to keep them.
    if (version === 3 && !isCompressed)
      throw new BlockError('EINVAL', 'VMDK version 3 must be read only', {
        hint: 'It tracks changed blocks, which is not supported; or it is a stream whose header lacks the compression',
      })
  }

  /** A table was changed in the cache. Bytes [from, to) of it. Runs under the lock. */
  changed(index: number, from: number, to: number): void {
    const before = this.#changed.get(index)
    this.#changed.set(index, {
      from: Math.min(from, before?.from ?? from),
      to: Math.max(to, before?.to ?? to),
    })
  }

  /** Writes changed tables, after what they point at is durable: copies first. Runs under the lock. */
  async writeTables(): Promise<void> {
    if (!this.tables.isDirty) return
    await this.tables.flushDependencies()
    for (const [index, { from, to }] of this.#changed) {
      const copy = this.redundant?.[index]
      if (!copy) continue
      const table = this.tables.peek(this.directory[index]! * SECTOR)!
      const first = Math.floor(from / SECTOR) * SECTOR
      await this.file.write(copy * SECTOR + first, table.bytes.subarray(first, alignUp(to, SECTOR)))
    }
    await this.tables.writeBack()
    this.#changed.clear()
  }

  /** Reserves host bytes at the end of the file, for grains. Nothing points at them yet. Runs under the lock. */
  async append(bytes: number, alignment: number): Promise<number> {
    this.#end ??= await this.#measure()
    const offset = alignUp(this.#end, alignment)
    if (offset + bytes > REACH)
      throw new BlockError('EFBIG', `The file '${this.file.node.filename}' cannot grow beyond ${REACH} bytes`)
    this.#end = offset + bytes
    return offset
  }

  /** Gives back what {@link append} reserved last, if nothing was reserved since. Runs under the lock. */
  takeBack(offset: number, bytes: number): void {
    if (this.#end === offset + bytes) this.#end = offset
  }

  /** Makes an empty table, durable before the directory points at it. Runs under the lock. */
  async newTable(index: number): Promise<void> {
    const { file, tableBytes, redundant, header } = this
    const primary = await this.#appendTable()
    const copy = redundant && (await this.#appendTable())
    for (const offset of [copy, primary]) if (offset) await file.writeZeroes(offset, tableBytes)
    await file.flush()
    if (redundant && copy) {
      await file.write(header.redundantDirectory + index * ENTRY, entryBytes(copy))
      redundant[index] = copy / SECTOR
    }
    await file.write(header.directory + index * ENTRY, entryBytes(primary))
    this.directory[index] = primary / SECTOR
  }

  async #appendTable(): Promise<number> {
    const { tableBytes } = this
    if (this.#tableRoom.bytes < tableBytes) {
      const bytes = Math.max(TABLE_ROOM, tableBytes)
      this.#tableRoom = { offset: await this.append(bytes, SECTOR), bytes }
    }
    const { offset, bytes } = this.#tableRoom
    this.#tableRoom = { offset: offset + tableBytes, bytes: bytes - tableBytes }
    return offset
  }

  /**
   * Where the file ends, and everything that an entry points at: QEMU counts on the length alone, although a crash may leave entries
   * behind it, whose grains would then belong to two parts of the disk.
   */
  async #measure(): Promise<number> {
    const { file, header, grainSize } = this
    const highest = await highestEntry(this)
    return Math.max(file.size, header.overhead, highest === 0 ? 0 : highest * SECTOR + grainSize)
  }
}

function entryBytes(offset: number): Uint8Array {
  const bytes = new Uint8Array(ENTRY)
  viewOf(bytes).setUint32(0, offset / SECTOR, true)
  return bytes
}
