/** An open Parallels image: its header, its BAT, and where its data ends. */
import {
  alignUp,
  type BlockChild,
  BlockError,
  BlockMap,
  divUp,
  endOfBlocks,
  isBlockError,
  type NewBlock,
  pause,
  SECTOR,
  TWO_32,
  viewOf,
} from '@vmblock/block-core/driver'
import { DESCRIPTOR_BYTES, descriptorError, isDescriptor } from './format/descriptor.ts'
import { type Extension, ExtensionError, parseExtension } from './format/extension.ts'
import {
  changeMarks,
  ENTRY,
  HEADER_BYTES,
  type Header,
  IN_USE,
  MARKS_AT,
  parseHeader,
} from './format/header.ts'

/** The BAT is read and written in pieces of at most so many entries. */
const PIECE = 2 ** 18
/** Entries that are decoded in one turn of the event loop take a millisecond or so. */
const ENTRIES_OF_UNIT = 2 ** 17
/** Largest cluster whose extension is read, in bytes. */
const MAX_EXTENSION = 2 ** 26

/** How the file grows. */
export interface Growth {
  /** Bytes that it grows by besides what is needed, at least a cluster. */
  readonly bytes: number
  /** The new bytes are reserved, if the file can do that. */
  readonly reserves: boolean
}

/** See the head of this file. Offsets and sizes are bytes. */
export class Image {
  readonly file: BlockChild
  readonly map: BlockMap
  readonly header: Header
  /** The image was in use when it was opened, and is not known to be sound. */
  isInUse: boolean
  /** The extension; undefined: there is none, or it cannot be read. */
  extension: Extension | undefined
  readonly #bytes: Uint8Array
  readonly #format: { offsets: Float64Array; backing?: BlockChild | undefined }
  readonly #growth: Growth
  /** Where the next cluster goes. */
  #dataEnd = 0
  /** From here on, the file was never written. */
  #zeroFrom: number
  /** The mark on disk says that this image is in use. */
  #isMarked = false
  #marking: Promise<void> | undefined

  private constructor(
    file: BlockChild,
    bytes: Uint8Array,
    header: Header,
    offsets: Float64Array,
    growth: Growth,
    backing: BlockChild | undefined,
  ) {
    this.file = file
    this.#bytes = bytes
    this.header = header
    this.isInUse = header.isInUse
    this.#growth = growth
    this.#zeroFrom = file.size
    const format = {
      file,
      blockSize: header.clusterSize,
      offsets,
      backing,
      beforeWrite: () => this.beforeWrite(),
      allocate: () => this.#allocate(),
      giveBack: (place: NewBlock) => this.#giveBack(place),
      store: (indexes: readonly number[]) => this.#store(indexes),
    }
    this.#format = format
    this.map = new BlockMap(format)
  }

  /**
   * Reads the header and the BAT.
   *
   * @param filename for messages
   * @throws BlockError EFORMAT, EINVAL, EFBIG: see {@link parseHeader}; ENOTSUP for a DiskDescriptor.xml; errors of the file
   */
  static async load(
    file: BlockChild,
    filename: string,
    growth: Growth,
    backing: BlockChild | undefined,
  ): Promise<Image> {
    const head = new Uint8Array(SECTOR)
    await file.read(0, head.subarray(0, Math.min(SECTOR, file.size)))
    if (isDescriptor(head)) {
      const text = new Uint8Array(Math.min(DESCRIPTOR_BYTES, file.size))
      await file.read(0, text)
      throw descriptorError(text)
    }
    const bytes = head.subarray(0, HEADER_BYTES)
    const header = parseHeader(bytes, file.size, filename)
    return new Image(file, bytes, header, await readTable(file, header), growth, backing)
  }

  get offsets(): Float64Array {
    return this.#format.offsets
  }

  set backing(backing: BlockChild | undefined) {
    this.#format.backing = backing
  }

  /** The mark of this program is on disk, and with it space that is reserved behind the data. */
  get isMarked(): boolean {
    return this.#isMarked
  }

  /**
   * Reads the extension.
   *
   * @throws ExtensionError EINVAL in QEMU's words; errors of the file
   */
  async readExtension(): Promise<void> {
    const { header, file } = this
    if (header.extension === 0n) return
    const offset = header.extension * BigInt(SECTOR)
    if (offset + BigInt(header.clusterSize) > BigInt(alignUp(file.size, SECTOR)))
      throw new ExtensionError(
        `Failed to read Format Extension cluster: sector ${header.extension} is outside the file`,
      )
    if (header.clusterSize > MAX_EXTENSION)
      throw new ExtensionError(`Format Extension cluster of ${header.clusterSize} bytes is too large`)
    const cluster = new Uint8Array(header.clusterSize)
    const at = Number(offset)
    await file.read(at, cluster.subarray(0, Math.min(cluster.length, file.size - at)))
    this.extension = parseExtension(cluster, { size: header.diskSize, fileSize: file.size })
  }

  /** Where the clusters of the extension end; 0: it has none. */
  get extensionEnd(): number {
    if (!this.extension) return 0
    const { extension, clusterSize } = this.header
    let last = Number(extension) * SECTOR
    for (const { table } of this.extension.bitmaps) for (const offset of table) last = Math.max(last, offset)
    return last + clusterSize
  }

  /** Whether a cluster begins inside the file. */
  isInside(offset: number): boolean {
    return offset < this.file.size
  }

  /**
   * Prepares for the first change.
   *
   * @throws BlockError EINVAL if a write could reach another cluster, or the BAT, or has no entry
   */
  becomeWritable(): void {
    const { entries, clusterSize, diskSize, dataStart, countsClusters } = this.header
    const clusters = divUp(diskSize, clusterSize)
    if (entries < clusters)
      throw new BlockError(
        'EINVAL',
        `the BAT has ${entries} entries for the ${clusters} clusters of the disk`,
      )
    // A file that was cut off can still be written: what is missing reads as zeroes, and comes back with a write.
    const outside = this.offsets.findIndex((offset) => offset + clusterSize > Number.MAX_SAFE_INTEGER)
    if (outside >= 0) throw new BlockError('EINVAL', `cluster ${outside} is outside image`)
    const end = endOfBlocks(this.offsets, clusterSize, dataStart)
    this.#dataEnd = alignUp(end, countsClusters ? clusterSize : SECTOR)
  }

  /** Marks the image as in use, and drops the extension: what it says of the disk does not hold after a write. */
  beforeWrite(): Promise<void> | undefined {
    if (this.#isMarked) return undefined
    this.#marking ??= this.#mark().finally(() => {
      this.#marking = undefined
    })
    return this.#marking
  }

  async #mark(): Promise<void> {
    await this.file.write(MARKS_AT, changeMarks(this.#bytes, { inUse: IN_USE, extension: 0n }))
    await this.file.flush()
    this.#isMarked = true
    this.extension = undefined
  }

  /** Removes the mark, durably: the image is sound. */
  async markClosed(): Promise<void> {
    await this.file.write(MARKS_AT, changeMarks(this.#bytes, { inUse: 0 }))
    await this.file.flush()
    this.#isMarked = false
    this.isInUse = false
  }

  /** Brings everything to disk, cuts off what is reserved, and removes the mark. */
  async finish(): Promise<void> {
    await this.map.flush()
    if (!this.#isMarked) return
    if (this.file.size > this.#dataEnd) {
      try {
        await this.file.truncate(this.#dataEnd, { exact: true })
      } catch {
        // Space behind the data does no harm: a device has it always.
      }
      this.#zeroFrom = Math.min(this.#zeroFrom, this.file.size)
    }
    await this.file.flush()
    await this.markClosed()
  }

  async #allocate(): Promise<NewBlock> {
    const { clusterSize } = this.header
    const offset = this.#dataEnd
    const end = offset + clusterSize
    if (this.#entryFor(offset) >= TWO_32)
      throw new BlockError('EFBIG', `the BAT cannot name a cluster at ${offset}`)
    if (end > this.file.size) await this.#grow(end)
    this.#dataEnd = end
    return { offset, zeroed: offset >= this.#zeroFrom }
  }

  /** Makes the file longer than needed; if there is no room for that, as long as needed. */
  async #grow(end: number): Promise<void> {
    const { bytes, reserves } = this.#growth
    const enough = end + Math.max(bytes, this.header.clusterSize)
    try {
      if (reserves) return await this.file.truncate(enough, { preallocation: 'falloc' })
      return await this.file.truncate(enough)
    } catch (error) {
      if (isBlockError(error, 'ECANCELED')) throw error
    }
    try {
      await this.file.truncate(enough)
    } catch (error) {
      if (isBlockError(error, 'ECANCELED')) throw error
      await this.file.truncate(end)
    }
  }

  #giveBack({ offset }: NewBlock): void {
    const end = offset + this.header.clusterSize
    // Otherwise another cluster was taken meanwhile, and this one is lost until the image is closed.
    if (end !== this.#dataEnd) return
    this.#dataEnd = offset
    this.#zeroFrom = Math.max(this.#zeroFrom, end)
  }

  #entryFor(offset: number): number {
    return offset / (this.header.countsClusters ? this.header.clusterSize : SECTOR)
  }

  async #store(indexes: readonly number[]): Promise<void> {
    for (let at = 0; at < indexes.length; ) {
      const first = indexes[at]!
      let count = 1
      while (count < PIECE && indexes[at + count] === first + count) count++
      const bytes = new Uint8Array(count * ENTRY)
      for (let index = 0; index < count; index++)
        viewOf(bytes).setUint32(index * ENTRY, this.#entryFor(this.offsets[first + index]!), true)
      await this.file.write(HEADER_BYTES + first * ENTRY, bytes)
      at += count
    }
  }
}

async function readTable(file: BlockChild, header: Header): Promise<Float64Array> {
  const { entries, clusterSize, countsClusters, diskSize } = header
  const unit = countsClusters ? clusterSize : SECTOR
  // A disk that is larger than its BAT ends with zeroes.
  const offsets = new Float64Array(Math.max(entries, divUp(diskSize, clusterSize)))
  const bytes = new Uint8Array(Math.min(entries, PIECE) * ENTRY)
  const view = viewOf(bytes)
  for (let first = 0; first < entries; first += PIECE) {
    const count = Math.min(PIECE, entries - first)
    await file.read(HEADER_BYTES + first * ENTRY, bytes.subarray(0, count * ENTRY))
    for (let at = 0; at < count; at++) {
      const entry = view.getUint32(at * ENTRY, true)
      // An array of zeroes takes no memory until something else is written to it.
      if (entry !== 0) offsets[first + at] = entry * unit
    }
    const turning = pause(count / ENTRIES_OF_UNIT)
    if (turning) await turning
  }
  return offsets
}
