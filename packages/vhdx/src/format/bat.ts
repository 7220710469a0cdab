/** The block allocation table (BAT): where blocks are, and in which state (MS-VHDX, section 2.5). */
import { divUp, TWO_32 } from '@vmblock/block-core/driver'
import { MIB } from './header.ts'
import type { Disk } from './metadata.ts'

/** Bytes of an entry. */
export const ENTRY_BYTES = 8

/** States of a block. */
export const State = {
  notPresent: 0,
  undefined: 1,
  zero: 2,
  unmapped: 3,
  /** Of version 0.95. */
  oldUnmapped: 5,
  fullyPresent: 6,
  /** A bitmap says which sectors are here, and which in the parent. */
  partiallyPresent: 7,
} as const

/** An entry of the table. */
export interface Entry {
  readonly state: number
  /** Host offset in bytes, a multiple of 1 MiB: exact, although it may be above 2^53. */
  readonly offset: number
  /** Bits that have to be zero are set. */
  readonly hasReserved: boolean
}

const STATE_BITS = 0b111
const OFFSET_BITS = 0xfff00000

/** Reads the entry at `at`, in bytes. */
export function decodeEntry(view: DataView, at: number): Entry {
  const low = view.getUint32(at, true)
  return {
    state: low & STATE_BITS,
    offset: view.getUint32(at + 4, true) * TWO_32 + ((low & OFFSET_BITS) >>> 0),
    hasReserved: (low & ~OFFSET_BITS & ~STATE_BITS) !== 0,
  }
}

/** Writes the entry at `at`, in bytes. `offset` is a multiple of 1 MiB. */
export function encodeEntry(view: DataView, at: number, state: number, offset: number): void {
  view.setUint32(at, (offset % TWO_32) + state, true)
  view.setUint32(at + 4, Math.floor(offset / TWO_32), true)
}

/** How many sectors the bits of a sector bitmap block describe. */
const SECTORS_OF_BITMAP = MIB * 8

/** The arithmetic of one disk's table. After each chunk of payload blocks, there is an entry for a sector bitmap. */
export interface Geometry {
  /** Payload blocks of the disk. */
  readonly blocks: number
  /** Payload blocks of a chunk. */
  readonly chunkRatio: number
  /** Entries of the table, those of sector bitmaps included. */
  readonly entries: number
}

/** The geometry of a disk. */
export function geometryOf({ size, blockSize, logicalSector, hasParent }: Disk): Geometry {
  const chunkRatio = (SECTORS_OF_BITMAP * logicalSector) / blockSize
  const blocks = divUp(size, blockSize)
  const entries = hasParent
    ? divUp(blocks, chunkRatio) * (chunkRatio + 1)
    : blocks + Math.floor(Math.max(blocks - 1, 0) / chunkRatio)
  return { blocks, chunkRatio, entries }
}

/** Which entry belongs to a payload block. */
export const entryOfBlock = ({ chunkRatio }: Geometry, block: number): number =>
  block + Math.floor(block / chunkRatio)

/** Which entry belongs to the sector bitmap of the chunk that holds a payload block. */
export const entryOfBitmap = ({ chunkRatio }: Geometry, block: number): number =>
  Math.floor(block / chunkRatio) * (chunkRatio + 1) + chunkRatio
