/**
 * Entries of tables, of 64 bits. An L2 entry is 0 (unallocated), the host offset of a cluster, or, with the highest bit set, the
 * host offset of compressed data in its low bits and its length in bytes above them: the larger a cluster, the more bits are for
 * the length.
 */
import { TWO_32 } from '@vmblock/block-core/driver'
import { ENTRY } from './header.ts'

/** The highest bit, in the upper half of an entry. */
const COMPRESSED = 2 ** 31

/** What an L2 entry says: lengths and offsets are bytes; an offset beyond 2^53-1, which no file reaches, is Infinity. */
export interface Entry {
  readonly offset: number
  /** Of compressed data; 0: it is not compressed. */
  readonly compressedBytes: number
}

const joined = (hi: number, lo: number): number =>
  hi > 0x1f_ffff ? Number.POSITIVE_INFINITY : hi * TWO_32 + lo

/** An L1 entry: the host offset of a table; 0: there is none. */
export const l1EntryAt = (view: DataView, index: number): number =>
  joined(view.getUint32(index * ENTRY), view.getUint32(index * ENTRY + 4))

/** An L2 entry; compressed data without a length is broken, and has the offset Infinity. */
export function l2EntryAt(view: DataView, index: number, clusterBits: number): Entry {
  const [hi, lo] = [view.getUint32(index * ENTRY), view.getUint32(index * ENTRY + 4)]
  if (hi < COMPRESSED) return { offset: joined(hi, lo), compressedBytes: 0 }
  const unit = 2 ** (31 - clusterBits)
  const compressedBytes = Math.floor((hi - COMPRESSED) / unit)
  if (compressedBytes === 0) return { offset: Number.POSITIVE_INFINITY, compressedBytes: 1 }
  return { offset: joined(hi % unit, lo), compressedBytes }
}

/** The largest host offset that an entry of compressed data holds, exclusive. */
export const maxCompressedOffset = (clusterBits: number): number =>
  Math.min(2 ** (63 - clusterBits), Number.MAX_SAFE_INTEGER)

/** Changes an entry of either table. The caller marks the slice as changed. */
export function setEntry(
  view: DataView,
  index: number,
  { offset, compressedBytes }: Entry,
  clusterBits: number,
): void {
  const hi = Math.floor(offset / TWO_32)
  const length = compressedBytes === 0 ? 0 : COMPRESSED + compressedBytes * 2 ** (31 - clusterBits)
  view.setUint32(index * ENTRY, hi + length)
  view.setUint32(index * ENTRY + 4, offset % TWO_32)
}
