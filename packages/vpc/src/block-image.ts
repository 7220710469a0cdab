/**
 * One open image with blocks: its table, its bitmaps, and the end of the file, where a footer is and new blocks go.
 *
 *     allocate   data, file as long as the block  -> table entry
 *     sectors    data, and an empty bitmap        -> bits
 *     footer     copy at the start                -> footer at the end overwritten by a block
 *
 * `->` is a flush of the file in between. New entries and bits stay in memory until a flush, which makes the data durable, then
 * writes them, and makes them durable. So a power cut leaves entries whose data is there, and at most blocks that no entry
 * names. QEMU links a block before its data.
 *
 * Not `BlockMap` of block-core: there, all of a block is in the same state.
 */
import { alignUp, type BlockChild, BlockError, Mutex, SECTOR, viewOf } from '@vmblock/block-core/driver'
import { Bitmaps } from './bitmaps.ts'
import type { FoundFooter } from './find-footer.ts'
import { FOOTER_BYTES, SHORT_FOOTER_BYTES } from './format/cookie.ts'
import {
  bitmapBytes,
  type DynamicHeader,
  encodeHeader,
  HEADER_BYTES,
  NO_SECTOR,
} from './format/dynamic-header.ts'
import { DiskType, type Footer } from './format/footer.ts'

/** Bytes of an entry. */
export const ENTRY = 4
/** Entries in a sector of the table: what is written at once. */
const GROUP = SECTOR / ENTRY

/** Everything that is read from the file. */
export interface BlockTables {
  readonly found: FoundFooter
  readonly header: DynamicHeader
  /** Bytes of the disk. */
  readonly size: number
  /** The sector of each block's bitmap in the file, or {@link NO_SECTOR}. */
  readonly table: Uint32Array
  /** Where structures end that are not blocks, in bytes. */
  readonly structuresEnd: number
  /** There are blocks behind the end of the disk, because its geometry has fewer bytes. */
  readonly isCut: boolean
}

/** The room of a new block. */
export interface Place {
  /** Host offset of its bitmap, in bytes. */
  readonly offset: number
  /** Its bytes were never written, and read as zeroes, except those of the bitmap. */
  readonly isFresh: boolean
}

/** State shared by the verbs. Host and guest offsets are bytes. */
export class BlockImage {
  readonly file: BlockChild
  readonly nodeName: string
  /** What shows through. */
  backing: BlockChild | undefined
  writable = false
  bitmaps!: Bitmaps
  header!: DynamicHeader
  footer!: Footer
  footerBytes!: Uint8Array
  /** Bytes of the disk. */
  size = 0
  blockSize = SECTOR
  bitmapBytes = SECTOR
  /** The sector of each block's bitmap in the file, or {@link NO_SECTOR}. */
  table: Uint32Array = new Uint32Array(0)
  /** Blocks that a request is allocating. */
  readonly filling = new Map<number, Promise<void>>()
  /** Entries that are not in the file. */
  readonly #changed = new Set<number>()
  /** Where the next block goes; a footer may be there. */
  end = 0
  /** The footer at the end is not where it belongs, or not as it should be. */
  #isFooterDue = false
  #hasCopy = true
  #wasWritten = false
  /** Places whose blocks could not be filled. */
  #spare: number[] = []
  #prepared: Promise<void> | undefined
  readonly #placing = new Mutex()
  readonly #flushing = new Mutex()

  constructor(file: BlockChild, nodeName: string) {
    this.file = file
    this.nodeName = nodeName
  }

  /** Adopts what is in the file, and forgets everything else. */
  adopt({ found, header, size, table, structuresEnd }: BlockTables): void {
    const { blockSize } = header.values
    this.header = header
    this.footer = found.footer
    this.footerBytes = found.bytes
    this.size = size
    this.table = table
    this.blockSize = blockSize
    this.bitmapBytes = bitmapBytes(blockSize)
    this.bitmaps = new Bitmaps(this.file, this.bitmapBytes, blockSize / SECTOR)
    this.#changed.clear()
    this.#spare = []
    this.#prepared = undefined
    this.#wasWritten = false
    this.#hasCopy = found.hasCopy
    const last = table.reduce((most, sector) => (sector === NO_SECTOR ? most : Math.max(most, sector)), -1)
    const blocksEnd = last < 0 ? 0 : last * SECTOR + this.stride
    const least = alignUp(Math.max(structuresEnd, blocksEnd), SECTOR)
    // Whatever else is in front of the footer is left alone: it may be of use to another program. A device is not appended to.
    const isLast =
      found.at !== undefined && found.at + FOOTER_BYTES === this.file.size && found.at % SECTOR === 0
    const fileEnd = isLast ? found.at! : alignUp(this.file.size, SECTOR)
    this.end = this.file.node.growable ? Math.max(least, fileEnd) : least
    this.#isFooterDue = found.at !== this.end
  }

  get isDifferencing(): boolean {
    return this.footer.type === DiskType.differencing
  }
  /** Bytes of a block in the file. */
  get stride(): number {
    return this.bitmapBytes + this.blockSize
  }
  /** Host offset of the table. */
  get tableOffset(): number {
    return Number(this.header.values.tableOffset)
  }

  /** Host offset of a block's bitmap; undefined: it has no place. */
  placeOf(index: number): number | undefined {
    const sector = this.table[index]!
    return sector === NO_SECTOR ? undefined : sector * SECTOR
  }

  /** To be awaited before anything is written: the copy at the start has to be good before the footer at the end goes. */
  prepare(): Promise<void> | undefined {
    this.#wasWritten = true
    if (this.#hasCopy) return undefined
    this.#prepared ??= this.#restoreCopy().catch((error: unknown) => {
      this.#prepared = undefined
      throw error
    })
    return this.#prepared
  }

  async #restoreCopy(): Promise<void> {
    await this.file.write(0, this.footerBytes)
    await this.file.flush()
    this.#hasCopy = true
  }

  /**
   * Reserves room for a block.
   *
   * @throws BlockError EFBIG behind what an entry can name; ENOSPC at the end of a device
   */
  takePlace(): Promise<Place> {
    // Not while a footer is being written where the block would go.
    return this.#placing.run(async () => {
      const spare = this.#spare.pop()
      if (spare !== undefined) return { offset: spare, isFresh: false }
      const offset = this.#takeEnd(this.stride)
      return { offset, isFresh: this.file.node.growable }
    })
  }

  /**
   * Reserves room for a structure, and makes the file reach to its end.
   *
   * @throws BlockError EFBIG, ENOSPC as for {@link takePlace}; what the file throws
   */
  async appendRoom(bytes: number): Promise<number> {
    const offset = await this.#placing.run(async () => this.#takeEnd(bytes))
    await this.writeFooter()
    return offset
  }

  #takeEnd(bytes: number): number {
    const offset = this.end
    if (offset / SECTOR >= NO_SECTOR)
      throw new BlockError('EFBIG', 'the image file is too large for another block', { node: this.nodeName })
    if (!this.file.node.growable && offset + bytes + FOOTER_BYTES > this.file.size)
      throw new BlockError('ENOSPC', 'the device is full', { node: this.nodeName })
    this.end = offset + bytes
    this.#isFooterDue = true
    return offset
  }

  /** Gives back the place of a block that could not be filled. */
  givePlace({ offset }: Place): void {
    this.#spare.push(offset)
  }

  /** The block has its data, at that place. */
  link(index: number, { offset }: Place): void {
    this.table[index] = offset / SECTOR
    this.#changed.add(index)
  }

  /** Whether the entry of a block is not in the file yet. */
  isPending(index: number): boolean {
    return this.#changed.has(index)
  }

  /** Runs `body` while no flush writes entries. */
  withoutFlush<T>(body: () => Promise<T>): Promise<T> {
    return this.#flushing.run(body)
  }

  /** Makes everything written so far durable. Data of others is not waited for. */
  flush(): Promise<void> {
    return this.#flushing.run(async () => {
      const entries = [...this.#changed].sort((a, b) => a - b)
      const bitmaps = this.bitmaps.takeChanged()
      this.#changed.clear()
      try {
        // The file has to reach to the end of all blocks before an entry names one.
        if (this.#isFooterDue && this.#wasWritten) await this.writeFooter()
        await this.file.flush()
        if (entries.length + bitmaps.length > 0) {
          for (const { index, bits } of bitmaps) await this.file.write(this.placeOf(index)!, bits)
          await this.#writeEntries(entries)
          await this.file.flush()
        }
        this.bitmaps.stored(bitmaps)
      } catch (error) {
        for (const index of entries) this.#changed.add(index)
        this.bitmaps.failed(bitmaps)
        throw error
      }
    })
  }

  /** Writes the footer at the end. */
  async writeFooter(): Promise<void> {
    await this.prepare()
    await this.#placing.run(async () => {
      await this.file.write(this.end, this.footerBytes)
      this.#isFooterDue = false
    })
  }

  /** Writes the sectors of the table that hold these entries, ascending. Those of others stay as they are in the file. */
  async #writeEntries(indexes: readonly number[]): Promise<void> {
    for (let i = 0; i < indexes.length; ) {
      const first = indexes[i]!
      let last = first
      for (; i < indexes.length && Math.floor(indexes[i]! / GROUP) - Math.floor(last / GROUP) <= 1; i++)
        last = indexes[i]!
      const bytes = new Uint8Array((last + 1 - first) * ENTRY)
      const view = viewOf(bytes)
      for (let index = first; index <= last; index++)
        view.setUint32((index - first) * ENTRY, this.#changed.has(index) ? NO_SECTOR : this.table[index]!)
      const announced = this.file.debugEvent('l2_update')
      if (announced) await announced
      await this.file.write(this.tableOffset + first * ENTRY, bytes)
    }
  }

  /** Writes other values to the header. The caller flushes. */
  async writeHeader(values: DynamicHeader['values']): Promise<void> {
    const bytes = encodeHeader(values, this.header.bytes)
    await this.file.write(Number(this.footer.dataOffset), bytes)
    this.header = { ...this.header, values, bytes }
  }

  /** Replaces both footers, and makes them durable. */
  async replaceFooter(footer: Footer, bytes: Uint8Array): Promise<void> {
    await this.#placing.run(async () => {
      await this.file.write(this.end, bytes)
      await this.file.write(0, bytes)
      this.footer = footer
      this.footerBytes = bytes
      this.#hasCopy = true
      this.#isFooterDue = false
    })
    await this.file.flush()
  }

  /** Whether anything was written since the image was opened: then the end has to be brought in order. */
  get isChanged(): boolean {
    return this.#wasWritten
  }

  /**
   * Refuses an image that a write would damage.
   *
   * @throws BlockError EINVAL if blocks overlap each other, or lie where something else is
   */
  requireSound(): void {
    const dataOffset = Number(this.footer.dataOffset)
    if (dataOffset < SHORT_FOOTER_BYTES)
      throw this.#invalid(`the dynamic header lies at ${dataOffset}, in the copy of the footer`)
    const { entries } = this.header.values
    const parts: { readonly what: string; readonly start: number; readonly bytes: number }[] = [
      { what: 'the copy of the footer', start: 0, bytes: SHORT_FOOTER_BYTES },
      { what: 'the dynamic header', start: dataOffset, bytes: HEADER_BYTES },
      { what: 'the table of blocks', start: this.tableOffset, bytes: entries * ENTRY },
      ...this.header.locators.map(({ offset, bytes }) => ({
        what: 'a parent locator',
        start: Number(offset),
        bytes,
      })),
    ]
    const order: number[] = []
    for (let index = 0; index < this.table.length; index++)
      if (this.table[index] !== NO_SECTOR) order.push(index)
    order.sort((a, b) => this.table[a]! - this.table[b]!)
    for (let i = 1; i < order.length; i++) {
      const [before, index] = [order[i - 1]!, order[i]!]
      if (this.placeOf(index)! < this.placeOf(before)! + this.stride)
        throw this.#invalid(`blocks ${before} and ${index} overlap at ${this.placeOf(index)}`)
    }
    for (const { what, start, bytes } of parts) {
      const index = bytes > 0 && order.find((each) => this.placeOf(each)! + this.stride > start)
      if (typeof index === 'number' && this.placeOf(index)! < start + bytes)
        throw this.#invalid(`block ${index} overlaps ${what} at ${Math.max(this.placeOf(index)!, start)}`)
    }
  }

  #invalid(message: string): BlockError {
    return new BlockError('EINVAL', message, { node: this.nodeName })
  }
}
