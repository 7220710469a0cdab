/**
 * Which parts of a disk were changed: one bit for each `granularity` bytes. Only pages of bits that are not all clear
 * take memory, and all pages that are full share one.
 */
import { BlockError } from './errors.ts'

/** Bytes of a page of bits, in QEMU's layout: the first bit is the lowest one of the first byte. */
const PAGE = 4096
const PAGE_BITS = PAGE * 8
/** Every page with all bits set. Never written: a bit that is cleared makes a copy. */
const FULL = new Uint8Array(PAGE).fill(0xff)
/** The smallest block that a bit can stand for, in bytes. */
export const MIN_GRANULARITY = 512

/** A page of bits, and how many of them are set. */
interface Page {
  bits: Uint8Array
  count: number
}

/** A range of a disk, in bytes. */
export interface DirtyRange {
  readonly offset: number
  readonly bytes: number
}

const isGranularity = (bytes: number): boolean =>
  bytes >= MIN_GRANULARITY && Number.isInteger(Math.log2(bytes))

const setBits: Uint8Array = Uint8Array.from({ length: 256 }, (_, byte) => {
  let count = 0
  for (let rest = byte; rest > 0; rest >>= 1) count += rest & 1
  return count
})

/** See the head of this file. Offsets and lengths are bytes of the disk; what lies beyond its end is ignored. */
export class DirtyBitmap {
  /** Bytes that one bit stands for. */
  readonly granularity: number
  #size: number
  #pages = new Map<number, Page>()
  #count = 0
  /** The page that was used last: requests come close together. */
  #lastIndex = -1
  #last: Page | undefined

  /**
   * A bitmap with no bit set.
   *
   * @param size bytes of the disk
   * @param granularity bytes that one bit stands for
   * @throws BlockError EINVAL unless it is a power of two, and at least 512
   */
  constructor(size: number, granularity: number) {
    if (!isGranularity(granularity))
      throw new BlockError('EINVAL', 'Granularity must be power of 2 and at least 512')
    this.#size = size
    this.granularity = granularity
  }

  /** Bytes of the disk. */
  get size(): number {
    return this.#size
  }
  /** Bytes of the disk that are dirty: whole blocks, the last of which may reach beyond the end. */
  get dirtyBytes(): number {
    return this.#count * this.granularity
  }
  /** Bytes of memory that the bits take, about. */
  get memory(): number {
    return this.#pages.size * PAGE
  }

  /** Marks a range as dirty: every block that it touches. */
  set(offset: number, bytes: number): void {
    this.#fill(offset, bytes, true)
  }
  /** Marks a range as clean: every block that it touches. */
  clear(offset: number, bytes: number): void {
    this.#fill(offset, bytes, false)
  }
  /** Marks everything as clean. */
  clearAll(): void {
    this.#pages = new Map()
    this.#count = 0
    this.#lastIndex = -1
  }

  /** Whether the block at an offset is dirty. */
  has(offset: number): boolean {
    const bit = Math.floor(offset / this.granularity)
    const page = this.#pages.get(Math.floor(bit / PAGE_BITS))
    const at = bit % PAGE_BITS
    return page !== undefined && (page.bits[at >>> 3]! & (1 << (at & 7))) !== 0
  }

  /** The dirty ranges in [from, to), in order; adjacent ones are joined. The bitmap must not change meanwhile. */
  *ranges(from = 0, to = this.#size): Generator<DirtyRange, void, undefined> {
    const end = Math.min(to, this.#size)
    for (let at = from; at < end; ) {
      const start = this.#next(at, end, true)
      if (start >= end) return
      at = this.#next(start, end, false)
      yield { offset: start, bytes: at - start }
    }
  }

  /**
   * The first offset in [from, to) that is dirty, or `to`: a block's begin, or `from` itself.
   */
  nextDirty(from: number, to = this.#size): number {
    return this.#next(from, Math.min(to, this.#size), true)
  }

  /** Adds what another bitmap has: blocks of another size are widened to those of this one. */
  merge(other: DirtyBitmap): void {
    if (other !== this) for (const { offset, bytes } of other.ranges()) this.set(offset, bytes)
  }

  /** A bitmap with the same bits, independent from now on. */
  copy(): DirtyBitmap {
    const copy = new DirtyBitmap(this.#size, this.granularity)
    for (const [index, { bits, count }] of this.#pages)
      copy.#pages.set(index, { bits: bits === FULL ? FULL : bits.slice(), count })
    copy.#count = this.#count
    return copy
  }

  /** Follows the disk to another size, in bytes. What is added is clean; what is cut off is forgotten. */
  resize(size: number): void {
    const blocks = Math.ceil(size / this.granularity)
    const before = Math.ceil(this.#size / this.granularity)
    if (blocks < before) this.#fillBits(blocks, before, false)
    this.#size = size
  }

  /** Bytes of the bits in QEMU's layout. */
  get packedBytes(): number {
    return Math.ceil(Math.ceil(this.#size / this.granularity) / 8)
  }

  /** Fills `into` with bits in QEMU's layout, from byte `at` of it on; zeroes behind its end. */
  pack(at: number, into: Uint8Array): void {
    into.fill(0)
    for (let done = 0; done < into.length; ) {
      const within = (at + done) % PAGE
      const length = Math.min(PAGE - within, into.length - done)
      const page = this.#pages.get((at + done - within) / PAGE)
      if (page) into.set(page.bits.subarray(within, within + length), done)
      done += length
    }
  }

  /** Adds the bits that `from` has in QEMU's layout, from byte `at` of it on. What lies behind the end is ignored. */
  unpack(at: number, from: Uint8Array): void {
    const end = Math.min(from.length, this.packedBytes - at)
    for (let done = 0; done < end; ) {
      const within = (at + done) % PAGE
      const length = Math.min(PAGE - within, end - done)
      const index = (at + done - within) / PAGE
      const piece = from.subarray(done, done + length)
      if (piece.some((byte) => byte !== 0)) this.#addPiece(index, within, piece)
      done += length
    }
    // Bits behind the last block.
    const blocks = Math.ceil(this.#size / this.granularity)
    this.#fillBits(blocks, this.packedBytes * 8, false)
  }

  #addPiece(index: number, within: number, piece: Uint8Array): void {
    const page = this.#pages.get(index) ?? { bits: new Uint8Array(PAGE), count: 0 }
    if (page.bits === FULL) return
    const before = page.count
    for (let i = 0; i < piece.length; i++) {
      const old = page.bits[within + i]!
      const now = old | piece[i]!
      page.count += setBits[now]! - setBits[old]!
      page.bits[within + i] = now
    }
    if (page.count === PAGE_BITS) page.bits = FULL
    this.#pages.set(index, page)
    this.#count += page.count - before
    this.#lastIndex = -1
  }

  #fill(offset: number, bytes: number, value: boolean): void {
    const end = Math.min(offset + bytes, this.#size)
    if (end <= offset) return
    const first = Math.floor(offset / this.granularity)
    const last = Math.floor((end - 1) / this.granularity)
    // Nearly every request touches one block, or a few, in the page of the one before.
    if (first === last && value && Math.floor(first / PAGE_BITS) === this.#lastIndex) {
      const at = first % PAGE_BITS
      if ((this.#last!.bits[at >>> 3]! & (1 << (at & 7))) !== 0) return
    }
    this.#fillBits(first, last + 1, value)
  }

  /** Sets or clears the bits [from, to). */
  #fillBits(from: number, to: number, value: boolean): void {
    for (let at = from; at < to; ) {
      const index = Math.floor(at / PAGE_BITS)
      const start = at - index * PAGE_BITS
      const end = Math.min(PAGE_BITS, to - index * PAGE_BITS)
      this.#fillPage(index, start, end, value)
      at = index * PAGE_BITS + end
    }
  }

  #fillPage(index: number, start: number, end: number, value: boolean): void {
    let page = this.#pages.get(index)
    if (!page) {
      if (!value) return
      page = { bits: new Uint8Array(PAGE), count: 0 }
      this.#pages.set(index, page)
    }
    this.#lastIndex = index
    this.#last = page
    const full = value ? PAGE_BITS : 0
    if (page.count === full) return
    const before = page.count
    if (end - start === PAGE_BITS) {
      page.bits = value ? FULL : page.bits
      page.count = full
    } else {
      if (page.bits === FULL) page.bits = FULL.slice()
      changeBits(page, start, end, value)
    }
    this.#count += page.count - before
    if (page.count === PAGE_BITS) page.bits = FULL
    if (page.count > 0) return
    this.#pages.delete(index)
    this.#lastIndex = -1
  }

  /** The first offset in [from, to) whose block is dirty, or clean; else `to`. */
  #next(from: number, to: number, dirty: boolean): number {
    const last = Math.ceil(to / this.granularity)
    for (let bit = Math.floor(from / this.granularity); bit < last; ) {
      const index = Math.floor(bit / PAGE_BITS)
      const page = this.#pages.get(index)
      const end = (index + 1) * PAGE_BITS
      // Absent pages are clean, and full ones dirty.
      if (!page || page.bits === FULL) {
        if ((page !== undefined) === dirty) return this.#clip(bit, from, to)
        bit = end
        continue
      }
      const found = findBit(page.bits, bit - index * PAGE_BITS, dirty)
      bit = index * PAGE_BITS + found
      if (found < PAGE_BITS) return this.#clip(bit, from, to)
    }
    return to
  }

  #clip(bit: number, from: number, to: number): number {
    return Math.min(Math.max(bit * this.granularity, from), to)
  }
}

function changeBits(page: Page, start: number, end: number, value: boolean): void {
  const { bits } = page
  for (let at = start; at < end; ) {
    const index = at >>> 3
    const stop = Math.min(end, (index + 1) * 8)
    const mask = (0xff << (at & 7)) & (0xff >>> ((index + 1) * 8 - stop))
    const old = bits[index]!
    const now = value ? old | mask : old & ~mask
    bits[index] = now
    page.count += setBits[now]! - setBits[old]!
    at = stop
  }
}

/** The first bit at or behind `from` that is set, or clear; else the number of bits in a page. */
function findBit(bits: Uint8Array, from: number, value: boolean): number {
  const skipped = value ? 0 : 0xff
  for (let at = from; at < PAGE_BITS; ) {
    const byte = bits[at >>> 3]!
    if (byte === skipped) {
      at = ((at >>> 3) + 1) * 8
      continue
    }
    if (((byte & (1 << (at & 7))) !== 0) === value) return at
    at++
  }
  return PAGE_BITS
}
