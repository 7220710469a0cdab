/**
 * One open VHDX image: its tables, and the requests of the guest.
 *
 *     first write   both headers with a new data-write GUID -> data
 *     new block     data -> entry in the log -> table        (bat-log.ts)
 *
 * `->` is a flush of the file in between. Blocks are appended to the file, and never freed. A power cut leaves entries
 * whose data is there, and at most a block at the end that no entry names.
 */
import {
  alignUp,
  type BlockChild,
  BlockError,
  BlockMap,
  type BlockStatus,
  Mutex,
  type NewBlock,
  viewOf,
  ZERO_BLOCK,
} from '@vmblock/block-core/driver'
import { BatLog } from './bat-log.ts'
import { ENTRY_BYTES, encodeEntry, entryOfBlock, State } from './format/bat.ts'
import { randomGuid } from './format/guid.ts'
import { MIB } from './format/header.ts'
import { LOG_SECTOR } from './format/log-entry.ts'
import { PartialBlocks } from './partial-blocks.ts'
import type { Tables } from './read-tables.ts'

/** The parts of an {@link Image}. */
export interface ImageParts {
  readonly nodeName: string
  /** The image file. */
  readonly file: BlockChild
  /** The file as requests of the guest see it: with the log replayed in memory, where that matters. */
  readonly dataFile: BlockChild
  readonly tables: Tables
  readonly backing: BlockChild | undefined
  /** Bytes of the log that are used at most. Default: all. */
  readonly logLimit?: number | undefined
  /** Host offset in bytes behind everything; undefined for an image that is only read. */
  readonly end: number | undefined
}

/** The state of one opening, from one reopen to the next. Offsets and lengths are bytes. */
export class Image {
  readonly nodeName: string
  readonly file: BlockChild
  readonly tables: Tables
  readonly #dataFile: BlockChild
  readonly #map: BlockMap
  readonly #format: { backing: BlockChild | undefined }
  readonly #partial: PartialBlocks
  readonly #log: BatLog | undefined
  /** Guards the log, and the parts of the file that it changes. */
  readonly #lock = new Mutex()
  /** Where the next block goes. */
  #end: number
  /** Bytes of the file that are known to be durable. */
  #durableEnd = 0
  /** The headers have a data-write GUID of this session, or are about to. */
  #marked: Promise<void> | 'yes' | undefined

  constructor({ nodeName, file, dataFile, tables, backing, logLimit, end }: ImageParts) {
    this.nodeName = nodeName
    this.file = file
    this.tables = tables
    this.#dataFile = dataFile
    this.#end = end ?? 0
    if (end !== undefined) this.#log = new BatLog(file, tables.headers, tables.log, logLimit)
    this.#partial = new PartialBlocks(tables, dataFile)
    const format = {
      file: dataFile,
      blockSize: tables.disk.blockSize,
      offsets: tables.offsets,
      backing,
      hasZeroBlocks: true,
      beforeWrite: () => (this.#marked === 'yes' ? undefined : this.#markWritten()),
      allocate: () => this.#allocate(),
      store: (indexes: readonly number[]) => this.#lock.run(() => this.#store(indexes)),
    }
    this.#format = format
    this.#map = new BlockMap(format)
  }

  /** The image may be written. */
  get writable(): boolean {
    return this.#log !== undefined
  }
  /** Guest bytes. */
  get size(): number {
    return this.tables.disk.size
  }
  /** Shows through where a differencing image has nothing. */
  get backing(): BlockChild | undefined {
    return this.#format.backing
  }
  set backing(backing: BlockChild | undefined) {
    this.#format.backing = backing
  }

  /** @throws BlockError EIO for blocks in a state that says nothing of their content; errors of the files */
  read(offset: number, into: Uint8Array): Promise<void> {
    const refused = this.#refused(offset, into.length)
    if (refused) return Promise.reject(refused)
    if (this.#partial.isEmpty) return this.#map.read(offset, into)
    return this.#partial.read(offset, into, this.#map, this.backing)
  }

  write(offset: number, from: Uint8Array): Promise<void> {
    const refused = this.#refused(offset, from.length)
    return refused ? Promise.reject(refused) : this.#map.write(offset, from)
  }

  writeZeroes(offset: number, bytes: number, mayUnmap: boolean): Promise<void> {
    const refused = this.#refused(offset, bytes)
    return refused ? Promise.reject(refused) : this.#map.writeZeroes(offset, bytes, mayUnmap)
  }

  /** Advice for the file. Before it, the same is done as before a write: what shows may change. */
  async discard(offset: number, bytes: number): Promise<void> {
    if (this.#marked !== 'yes') await this.#markWritten()
    await this.#map.discard(offset, bytes)
  }

  async blockStatus(offset: number, bytes: number): Promise<BlockStatus> {
    const refused = this.#refused(offset, 1)
    if (refused) throw refused
    const found = this.#partial.isEmpty
      ? await this.#map.blockStatus(offset, bytes)
      : await this.#partial.blockStatus(offset, bytes, this.#map)
    const status = { ...found, bytes: this.#untilUnreadable(offset, found.bytes) }
    if (this.#dataFile === this.file || !status.host) return status
    const { host: _, ...rest } = status
    return rest
  }

  /** Makes everything durable that was written. */
  flush(): Promise<void> {
    return this.#map.flush()
  }

  /** Makes everything durable, and empties the log. */
  async quiesce(): Promise<void> {
    if (!this.#log) return
    await this.#map.flush()
    await this.#lock.run(() => this.#log!.close())
  }

  /** Why a request cannot be served, if so. */
  #refused(offset: number, bytes: number): BlockError | undefined {
    const index = this.#unreadableIn(offset, bytes)
    if (index === undefined) return undefined
    const state = this.tables.unreadable.get(index)
    const message = `VHDX block ${index} is in state ${state}, which says nothing of its content`
    return new BlockError('EIO', message, { offset: index * this.tables.disk.blockSize })
  }

  /** The first block of a range that cannot be read. */
  #unreadableIn(offset: number, bytes: number): number | undefined {
    const { unreadable, disk } = this.tables
    if (unreadable.size === 0) return undefined
    for (let index = Math.floor(offset / disk.blockSize); index * disk.blockSize < offset + bytes; index++)
      if (unreadable.has(index)) return index
    return undefined
  }

  /** How much of a range comes before the first such block. */
  #untilUnreadable(offset: number, bytes: number): number {
    const index = this.#unreadableIn(offset, bytes)
    return index === undefined ? bytes : index * this.tables.disk.blockSize - offset
  }

  /** Children of the image compare the data-write GUID: it changes before anything that a guest can see. */
  #markWritten(): Promise<void> {
    if (this.#marked instanceof Promise) return this.#marked
    const marking = this.#mark()
    this.#marked = marking
    return marking
  }

  async #mark(): Promise<void> {
    try {
      const { size } = this.file
      // This flushes the file, too.
      await this.tables.headers.update(this.file, { dataWriteGuid: randomGuid() })
      this.#durableEnd = Math.max(this.#durableEnd, size)
      this.#marked = 'yes'
    } catch (error) {
      this.#marked = undefined
      throw error
    }
  }

  /** Appends a block to the file. */
  async #allocate(): Promise<NewBlock> {
    // The file may be longer than its blocks need, with old content behind them.
    const offset = Math.max(this.#end, alignUp(this.file.size, MIB))
    const end = offset + this.tables.disk.blockSize
    await this.file.truncate(end)
    this.#end = end
    return { offset, zeroed: true }
  }

  async #store(indexes: readonly number[]): Promise<void> {
    const log = this.#log!
    const { geometry, regions, offsets, disk } = this.tables
    const sectors = new Map<number, Uint8Array>()
    for (const index of indexes) {
      const at = regions.bat.offset + entryOfBlock(geometry, index) * ENTRY_BYTES
      const within = at % LOG_SECTOR
      const start = at - within
      let sector = sectors.get(start)
      if (!sector) {
        sector = log.sectorAt(start)?.slice()
        if (!sector) {
          sector = new Uint8Array(LOG_SECTOR)
          await this.file.read(start, sector)
        }
        sectors.set(start, sector)
      }
      const offset = offsets[index]!
      if (offset === ZERO_BLOCK) encodeEntry(viewOf(sector), within, State.zero, 0)
      else {
        encodeEntry(viewOf(sector), within, State.fullyPresent, offset)
        // Its data is durable, so the file reaches at least that far.
        this.#durableEnd = Math.max(this.#durableEnd, offset + disk.blockSize)
      }
    }
    await log.add(sectors, this.#durableEnd)
  }
}
