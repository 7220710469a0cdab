/**
 * Blocks of a differencing image that are only partly here: a bitmap for each chunk of blocks says which sectors. They
 * are only read.
 */
import { type BlockChild, type BlockMap, type BlockStatus, readBacking } from '@vmblock/block-core/driver'
import type { Tables } from './read-tables.ts'

/** Bitmaps of this many blocks are kept: at most 64 KiB each. */
const KEPT = 64

/** Sectors in a row that are all here, or all in the parent. */
interface Run {
  readonly bytes: number
  readonly isHere: boolean
}

/** See the head of this file. Offsets and lengths are bytes of the guest's disk. */
export class PartialBlocks {
  readonly #tables: Tables
  readonly #file: BlockChild
  readonly #kept = new Map<number, Uint8Array>()

  constructor(tables: Tables, file: BlockChild) {
    this.#tables = tables
    this.#file = file
  }

  /** There are none. */
  get isEmpty(): boolean {
    return this.#tables.partial.size === 0
  }

  /** Reads a range of the disk. `others` has the blocks that are wholly here, or not at all. */
  async read(
    offset: number,
    into: Uint8Array,
    others: BlockMap,
    backing: BlockChild | undefined,
  ): Promise<void> {
    for (let done = 0; done < into.length; ) {
      const at = offset + done
      const host = this.#tables.partial.get(this.#blockOf(at))
      if (host === undefined) {
        const bytes = this.#untilPartial(at, into.length - done)
        await others.read(at, into.subarray(done, done + bytes))
        done += bytes
      } else {
        const { bytes, isHere } = await this.#runAt(at, into.length - done)
        const part = into.subarray(done, done + bytes)
        if (isHere) await this.#file.read(host + (at % this.#tables.disk.blockSize), part)
        else await readBacking(this.#file, backing, at, part)
        done += bytes
      }
    }
  }

  /** The status of the run at `offset`. */
  async blockStatus(offset: number, bytes: number, others: BlockMap): Promise<BlockStatus> {
    const host = this.#tables.partial.get(this.#blockOf(offset))
    if (host === undefined) {
      const status = await others.blockStatus(offset, bytes)
      return { ...status, bytes: this.#untilPartial(offset, status.bytes) }
    }
    const run = await this.#runAt(offset, bytes)
    if (!run.isHere) return { bytes: run.bytes, allocated: false, data: false, zero: false }
    const within = offset % this.#tables.disk.blockSize
    return {
      bytes: run.bytes,
      allocated: true,
      data: true,
      zero: false,
      host: { child: this.#file, offset: host + within },
    }
  }

  #blockOf(offset: number): number {
    return Math.floor(offset / this.#tables.disk.blockSize)
  }

  /** How much of a range comes before the next such block. */
  #untilPartial(offset: number, bytes: number): number {
    const { partial, disk } = this.#tables
    const end = offset + bytes
    for (let block = this.#blockOf(offset) + 1; block * disk.blockSize < end; block++)
      if (partial.has(block)) return block * disk.blockSize - offset
    return bytes
  }

  async #runAt(offset: number, bytes: number): Promise<Run> {
    const { blockSize, logicalSector } = this.#tables.disk
    const block = this.#blockOf(offset)
    const bitmap = await this.#bitmapOf(block)
    const within = offset - block * blockSize
    const end = Math.min(within + bytes, blockSize)
    const isHere = (sector: number): boolean => (bitmap[sector >> 3]! & (1 << (sector & 7))) !== 0
    let sector = Math.floor(within / logicalSector)
    const first = isHere(sector)
    do sector++
    while (sector * logicalSector < end && isHere(sector) === first)
    return { bytes: Math.min(sector * logicalSector, end) - within, isHere: first }
  }

  /** The bits of one block, the lowest bit of each byte first. */
  async #bitmapOf(block: number): Promise<Uint8Array> {
    const { disk, geometry, bitmaps, source } = this.#tables
    const known = this.#kept.get(block)
    if (known) return known
    const bytes = new Uint8Array(disk.blockSize / disk.logicalSector / 8)
    const chunk = Math.floor(block / geometry.chunkRatio)
    // That there is one was checked when the image was opened.
    await source.read(bitmaps.get(chunk)! + (block % geometry.chunkRatio) * bytes.length, bytes)
    if (this.#kept.size >= KEPT) this.#kept.delete(this.#kept.keys().next().value!)
    this.#kept.set(block, bytes)
    return bytes
  }
}
