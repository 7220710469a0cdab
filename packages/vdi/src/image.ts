/** An open VDI image: its header, its map, and the places in its data area. */
import {
  alignUp,
  type BlockChild,
  BlockError,
  BlockMap,
  type NewBlock,
  NO_BLOCK,
  pause,
  SECTOR,
  viewOf,
  ZERO_BLOCK,
} from '@vmblock/block-core/driver'
import {
  COUNT_AT,
  changeHeader,
  DISCARDED,
  HEADER_BYTES,
  type Header,
  NEVER_WRITTEN,
  parseHeader,
} from './format/header.ts'
import { Places } from './places.ts'

/** Bytes of an entry of the map. */
export const ENTRY = 4
/** The map is read and written in pieces of at most so many entries. */
const PIECE = 2 ** 18
/** Entries that are decoded in one turn of the event loop take a millisecond or so. */
const ENTRIES_OF_UNIT = 2 ** 17

/** See the head of this file. Offsets and sizes are bytes. */
export class Image {
  readonly file: BlockChild
  readonly map: BlockMap
  header: Header
  /** The first bytes of the file, as they are on disk. */
  readonly #head: Uint8Array
  /** Host offset of each block, as {@link BlockMap} wants them. */
  readonly #format: { offsets: Float64Array }
  /** Known once something may be written. */
  #places: Places | undefined
  /** Why nothing can be written any more: it is not known what the header says. */
  #failure: BlockError | undefined

  private constructor(file: BlockChild, head: Uint8Array, header: Header, offsets: Float64Array) {
    this.file = file
    this.#head = head
    this.header = header
    const format = {
      file,
      blockSize: header.blockSize,
      offsets,
      beforeWrite: (): undefined => this.#requireIntact(),
      allocate: () => this.#allocate(),
      giveBack: ({ offset }: NewBlock) => this.places.free(this.placeOf(offset)),
      beforeStore: () => this.#storeCount(),
      store: (indexes: readonly number[]) => this.#store(indexes),
    }
    this.#format = format
    this.map = new BlockMap(format)
  }

  /**
   * Reads the header and the map.
   *
   * @throws BlockError EFORMAT, ENOTSUP, EINVAL: see {@link parseHeader}; errors of the file
   */
  static async load(file: BlockChild): Promise<Image> {
    const head = new Uint8Array(HEADER_BYTES)
    await file.read(0, head.subarray(0, Math.min(HEADER_BYTES, file.size)))
    const header = parseHeader(head, file.size)
    return new Image(file, head, header, await readMap(file, header))
  }

  /** Bytes of the guest's disk. VBoxManage makes images of odd sizes; like QEMU, this rounds them up. */
  get size(): number {
    return alignUp(this.header.diskSize, SECTOR)
  }

  get offsets(): Float64Array {
    return this.#format.offsets
  }

  set offsets(offsets: Float64Array) {
    this.#format.offsets = offsets
  }

  /** The place of a block whose data is at that host offset. */
  placeOf(offset: number): number {
    return (offset - this.header.dataOffset) / this.header.blockSize
  }

  /** The host offset of a place. */
  offsetOf(place: number): number {
    return this.header.dataOffset + place * this.header.blockSize
  }

  /**
   * Whether a block may lie there. Programs number the places of a disk of n blocks from 0 to n-1. There are more while the
   * map moves, and then the header counts them.
   */
  isPlace(place: number): boolean {
    const { blocks, allocatedBlocks } = this.header
    return place < blocks || (place < allocatedBlocks && this.offsetOf(place + 1) <= this.file.size)
  }

  /** What is wrong with the place of the map: a write to a block could reach it. */
  get misplacedMap(): string | undefined {
    const { mapOffset, dataOffset, blocks } = this.header
    const end = mapOffset + blocks * ENTRY
    if (mapOffset >= HEADER_BYTES && end <= dataOffset) return undefined
    return `the block map from ${mapOffset} to ${end} is not between the header and the data at ${dataOffset}`
  }

  /** The places in use. Only of an image that {@link becomeWritable} has accepted. */
  get places(): Places {
    return this.#places!
  }

  /**
   * Prepares for the first change.
   *
   * @throws BlockError EINVAL if a write could reach another block, or the map
   */
  becomeWritable(): void {
    const misplaced = this.misplacedMap
    if (misplaced !== undefined) throw new BlockError('EINVAL', misplaced)
    const places = new Places(this.header.blocks)
    this.offsets.forEach((offset, block) => {
      if (offset <= ZERO_BLOCK) return
      const place = this.placeOf(offset)
      if (!this.isPlace(place)) throw new BlockError('EINVAL', `block index ${block} too large, is ${place}`)
      if (places.has(place))
        throw new BlockError(
          'EINVAL',
          `blocks ${this.offsets.indexOf(offset)} and ${block} share the place ${place}`,
        )
      places.add(place)
    })
    this.#places = places
  }

  #requireIntact(): undefined {
    if (this.#failure) throw this.#failure
  }

  async #allocate(): Promise<NewBlock> {
    const place = this.places.take()
    const offset = this.offsetOf(place)
    const end = offset + this.header.blockSize
    // What lies behind the blocks in use may be a block that a crash left, so it is no zeroes.
    const zeroed = offset >= this.file.size
    try {
      if (zeroed) await this.file.truncate(end, { exact: true })
    } catch (error) {
      this.places.free(place)
      throw error
    }
    return { offset, zeroed }
  }

  /**
   * QEMU puts its next block behind as many as the header counts: so that is durable before an entry that names one of them.
   * Too large a count costs space.
   */
  async #storeCount(): Promise<void> {
    this.#requireIntact()
    const allocatedBlocks = this.places.end
    if (allocatedBlocks === this.header.allocatedBlocks) return
    const count = new Uint8Array(4)
    viewOf(count).setUint32(0, allocatedBlocks, true)
    await this.file.write(COUNT_AT, count)
    this.header = { ...this.header, allocatedBlocks }
    changeHeader(this.#head, this.header)
  }

  async #store(indexes: readonly number[]): Promise<void> {
    for (let at = 0; at < indexes.length; ) {
      const first = indexes[at]!
      let count = 1
      while (count < PIECE && indexes[at + count] === first + count) count++
      await this.writeEntries(first, count)
      at += count
    }
  }

  /** Writes the entries of blocks as {@link offsets} has them. */
  async writeEntries(first: number, count: number, header: Header = this.header): Promise<void> {
    for (let done = 0; done < count; done += PIECE) {
      const start = first + done
      const bytes = new Uint8Array(Math.min(count - done, PIECE) * ENTRY)
      const view = viewOf(bytes)
      for (let at = 0; at < bytes.length; at += ENTRY)
        view.setUint32(at, entryFor(header, this.offsets[start + at / ENTRY] ?? NO_BLOCK), true)
      await this.file.write(header.mapOffset + start * ENTRY, bytes)
    }
  }

  /**
   * Changes the header, durably.
   *
   * @throws BlockError errors of the file; then the image takes no more changes, because what is on disk is not known
   */
  async writeHeader(changes: Partial<Header>): Promise<void> {
    this.#requireIntact()
    const header = { ...this.header, ...changes }
    const [offset, bytes] = changeHeader(this.#head, header)
    try {
      await this.file.write(offset, bytes)
      await this.file.flush()
    } catch (error) {
      this.#failure = new BlockError(
        'EIO',
        'the header could not be written; the image has to be opened again',
      )
      throw error
    }
    this.header = header
  }
}

function entryFor({ dataOffset, blockSize }: Header, offset: number): number {
  if (offset === NO_BLOCK) return NEVER_WRITTEN
  return offset === ZERO_BLOCK ? DISCARDED : (offset - dataOffset) / blockSize
}

async function readMap(file: BlockChild, header: Header): Promise<Float64Array> {
  const { mapOffset, dataOffset, blockSize, blocks } = header
  const offsets = new Float64Array(blocks)
  const bytes = new Uint8Array(Math.min(blocks, PIECE) * ENTRY)
  const view = viewOf(bytes)
  for (let first = 0; first < blocks; first += PIECE) {
    const count = Math.min(PIECE, blocks - first)
    await file.read(mapOffset + first * ENTRY, bytes.subarray(0, count * ENTRY))
    for (let at = 0; at < count; at++) {
      const entry = view.getUint32(at * ENTRY, true)
      // An array of zeroes takes no memory until something else is written to it.
      if (entry === NEVER_WRITTEN) continue
      offsets[first + at] = entry === DISCARDED ? ZERO_BLOCK : dataOffset + entry * blockSize
    }
    const turning = pause(count / ENTRIES_OF_UNIT)
    if (turning) await turning
  }
  return offsets
}
