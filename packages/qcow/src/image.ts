/**
 * One open image: its header, its tables, and the end of the file. There are no reference counts: what is allocated is appended,
 * and what is replaced stays where it is.
 *
 *     data, copies     -> L2 entry
 *     new L2 table     -> L1 entry
 *
 * `->` is a flush of the file in between. QEMU writes entries first; a crash then leaves entries that point behind the end of the
 * file, where the next cluster would be allocated. Such a place is not used again here.
 */
import {
  alignUp,
  type BlockChild,
  BlockError,
  Mutex,
  RangeTracker,
  SECTOR,
  TableCache,
} from '@vmblock/block-core/driver'
import type { SectorCipher } from '@vmblock/crypto'
import { l1EntryAt } from './format/entries.ts'
import { ENTRY, type Header } from './format/header.ts'
import { sliceAt } from './lookup.ts'

/** Bytes of a piece of an L2 table in the cache, at most. */
const L2_SLICE = 4096
/** Bytes of a piece of the L1 table, at most. Pieces fill the table exactly: a cluster may follow it at once. */
const L1_SLICE = 512
/** Bytes of tables that are cached. */
const L2_CACHE = 32 * 2 ** 20
const L1_CACHE = 2 ** 20

/** The parts of an {@link Image}. */
export interface ImageParts {
  readonly nodeName: string
  readonly header: Header
  readonly file: BlockChild
  readonly backingName: string | undefined
  /** Of guest data; undefined: it is not encrypted. */
  readonly cipher: SectorCipher | undefined
}

/** State shared by the verbs. Tables and the end of the file change under {@link Image.lock}. */
export class Image {
  readonly nodeName: string
  readonly header: Header
  readonly file: BlockChild
  readonly backingName: string | undefined
  readonly cipher: SectorCipher | undefined
  readonly l1Table: TableCache
  readonly l2Tables: TableCache
  /** Never held during guest data I/O. */
  readonly lock = new Mutex()
  /** Guest ranges being allocated. Taken before {@link lock}. */
  readonly allocating = new RangeTracker()
  /** The backing node, which shows through where the image holds nothing. */
  backing: BlockChild | undefined
  /** The compressed cluster that was read last, by its host offset. */
  unpacked: { readonly offset: number; readonly bytes: Uint8Array } | undefined
  /** Something was written that may not be durable. */
  isUnsure = false
  /** Host bytes behind which everything is free; undefined until something is allocated. */
  #end: number | undefined

  constructor(parts: ImageParts) {
    this.nodeName = parts.nodeName
    this.header = parts.header
    this.file = parts.file
    this.backingName = parts.backingName
    this.cipher = parts.cipher
    const cache = (sliceSize: number, bytes: number, level: 'l1' | 'l2'): TableCache =>
      new TableCache({
        file: parts.file,
        sliceSize,
        capacity: bytes / sliceSize,
        events: { load: level === 'l2' ? 'l2_load' : 'none', update: `${level}_update` },
        flushData: () => parts.file.flush(),
      })
    const { l1Bytes } = parts.header
    let slice = L1_SLICE
    while (l1Bytes % slice !== 0) slice /= 2
    this.l1Table = cache(slice, L1_CACHE, 'l1')
    this.l2Tables = cache(Math.min(L2_SLICE, parts.header.tableBytes), L2_CACHE, 'l2')
  }

  /** The end of the L1 table, before which no cluster can be, in bytes. */
  get firstFree(): number {
    return this.header.l1TableOffset + this.header.l1Bytes
  }

  /**
   * Whether a table or cluster may begin at a host offset: in the file, or at its end, where a crash of QEMU leaves entries. It
   * reads as zeroes there.
   */
  isPlace(offset: number): boolean {
    const end = Math.max(this.file.size, this.#end ?? 0)
    return (
      offset % SECTOR === 0 && this.isPlaceOfBytes(offset) && offset <= alignUp(end, this.header.clusterSize)
    )
  }

  /** Whether compressed data, which is not aligned, may begin there. */
  isPlaceOfBytes(offset: number): boolean {
    return (
      offset >= this.firstFree && offset <= Math.max(this.file.size, this.#end ?? 0) + this.header.clusterSize
    )
  }

  /** Takes host bytes behind the end of the file, at a multiple of `unit`. Runs under the lock. @returns their offset */
  async append(bytes: number, unit: number): Promise<number> {
    this.#end ??= await this.#measure()
    const offset = alignUp(this.#end, unit)
    if (offset + bytes > Number.MAX_SAFE_INTEGER)
      throw new BlockError('EFBIG', 'the image file cannot grow any more', { node: this.nodeName })
    this.#end = offset + bytes
    return offset
  }

  /** Gives bytes back to which nothing points; those that are not the last are lost. Runs under the lock. */
  release(offset: number, bytes: number): void {
    if (this.#end === offset + bytes) this.#end = offset
  }

  /**
   * Where the first cluster of a session goes: one that a crash of QEMU may have left an entry for stays unused.
   *
   * @throws BlockError EIO for an L1 entry that points farther: it would get a table as soon as the file is long enough
   */
  async #measure(): Promise<number> {
    const { header, file } = this
    const { clusterSize, tableBytes, l1TableOffset, l1Bytes } = header
    let end = Math.max(file.size, this.firstFree)
    const isNew = file.size <= alignUp(this.firstFree - l1TableOffset, SECTOR) + l1TableOffset
    if (!isNew) end = alignUp(end, clusterSize) + clusterSize
    for (let at = 0; at < l1Bytes; at += this.l1Table.sliceSize) {
      const { view } = await sliceAt(this.l1Table, l1TableOffset + at)
      for (let i = 0; i < this.l1Table.sliceSize / ENTRY; i++) {
        const table = l1EntryAt(view, i)
        if (table === 0) continue
        if (!this.isPlace(table))
          throw new BlockError('EIO', `L1 entry ${at / ENTRY + i} points outside the image file`, {
            node: this.nodeName,
            offset: l1TableOffset + at + i * ENTRY,
          })
        end = Math.max(end, table + tableBytes)
      }
    }
    return end
  }

  /** Brings everything to disk: data, then L2 tables, then the L1 table. */
  async flush(): Promise<void> {
    this.isUnsure = false
    try {
      await this.lock.run(() => this.writeTables())
      await this.flushFile()
    } catch (error) {
      this.isUnsure = true
      throw error
    }
  }

  /** Writes the tables, which become durable with {@link flushFile}. Runs under the lock. */
  async writeTables(): Promise<void> {
    await this.l2Tables.writeBack()
    await this.l1Table.writeBack()
  }

  /** Makes completed writes to the file durable. */
  async flushFile(): Promise<void> {
    const announced = this.file.debugEvent('flush_to_disk')
    if (announced) await announced
    await this.file.flush()
  }

  /** Forgets that anything is allocated, after the L1 table was emptied. */
  becomeEmpty(): void {
    this.drop()
    this.#end = this.firstFree
  }

  /** Forgets all tables. What was measured is measured again. */
  drop(): void {
    this.l1Table.clear()
    this.l2Tables.clear()
    this.unpacked = undefined
    this.#end = undefined
  }
}
