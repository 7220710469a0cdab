/**
 * L1 and L2 entries, as two 32-bit halves.
 *
 *   bit 63  COPIED      refcount is exactly one: may be written in place
 *   bit 62  COMPRESSED  the rest is a compressed cluster descriptor (L2 only)
 *   9-55    host offset, cluster aligned (0: nothing there)
 *   bit 0   ZERO        reads as zeroes, whatever the offset says (L2 only, not with extended L2 entries)
 *
 * Compressed cluster descriptor, with x = 70 - clusterBits:
 *
 *   0..x-1  host offset in bytes, any alignment
 *   x..61   512-byte sectors beyond the one the data begins in
 *
 * Nothing here allocates, so lookups may call it for every cluster.
 */
import { TWO_32 } from '@vmblock/block-core/driver'

/** COPIED, in the high half. */
export const COPIED_HI = 0x8000_0000
/** COMPRESSED, in the high half. */
export const COMPRESSED_HI = 0x4000_0000
/** ZERO, in the low half. */
export const ZERO_LO = 0x1

const OFFSET_HI = 0x00ff_ffff
const OFFSET_LO = 0xffff_fe00

/** The kind of an L2 entry: QEMU's QCow2ClusterType, in its order. */
export const ClusterKind = { unallocated: 0, zeroPlain: 1, zeroAlloc: 2, normal: 3, compressed: 4 } as const
/** One of {@link ClusterKind}. */
export type ClusterKind = (typeof ClusterKind)[keyof typeof ClusterKind]

/**
 * The kind of an 8-byte L2 entry.
 *
 * @param dataFile the image has an external data file, in which offset 0 with COPIED is an allocated cluster
 */
export function l2Kind(hi: number, lo: number, dataFile = false): ClusterKind {
  if ((hi & COMPRESSED_HI) !== 0) return ClusterKind.compressed
  const hasOffset = (hi & OFFSET_HI) !== 0 || (lo & OFFSET_LO) !== 0
  if ((lo & ZERO_LO) !== 0) return hasOffset ? ClusterKind.zeroAlloc : ClusterKind.zeroPlain
  return hasOffset || (dataFile && (hi & COPIED_HI) !== 0) ? ClusterKind.normal : ClusterKind.unallocated
}

/** The kind of a 16-byte L2 entry, by its first word: `unallocated`, `normal` or `compressed`. */
export function extendedL2Kind(hi: number, lo: number, dataFile = false): ClusterKind {
  if ((hi & COMPRESSED_HI) !== 0) return ClusterKind.compressed
  const hasOffset = (hi & OFFSET_HI) !== 0 || (lo & OFFSET_LO) !== 0
  return hasOffset || (dataFile && (hi & COPIED_HI) !== 0) ? ClusterKind.normal : ClusterKind.unallocated
}

/** Host offset (bytes) of an L2 entry that is not compressed; below 2^56 and exact. */
export const hostOffsetOf = (hi: number, lo: number): number =>
  (hi & OFFSET_HI) * TWO_32 + ((lo & OFFSET_LO) >>> 0)

/** Host offset (bytes) of the L2 table that an L1 entry points at, or 0. */
export const l1Offset: (hi: number, lo: number) => number = hostOffsetOf

/** Offset (bytes) of the refcount block that a refcount table entry points at, or 0. Rounded above 2^53. */
export const refblockOffset = (hi: number, lo: number): number => hi * TWO_32 + ((lo & OFFSET_LO) >>> 0)

/** Points an entry of a refcount table at the block at `offset` (bytes); 0: at none. */
export function setRefblockOffset(table: DataView, index: number, offset: number): void {
  table.setUint32(index * 8, Math.floor(offset / TWO_32))
  table.setUint32(index * 8 + 4, offset % TWO_32)
}

/** Whether COPIED is set. */
export const isCopied = (hi: number): boolean => (hi & COPIED_HI) !== 0

/** High half of an entry for `offset` (bytes, below 2^56). */
export const entryHi = (offset: number, copied: boolean): number =>
  (Math.floor(offset / TWO_32) | (copied ? COPIED_HI : 0)) >>> 0

/** Low half of an entry for `offset` (bytes, a multiple of 512). */
export const entryLo = (offset: number): number => offset % TWO_32

/** The extent of a compressed cluster's data, in bytes. */
export interface CompressedExtent {
  readonly hostOffset: number
  /** Up to the end of its last sector, which may hold other data as well. */
  readonly bytes: number
}

/** Bits of the descriptor's offset that are in the high half. */
export const offsetBitsHi = (clusterBits: number): number => 38 - clusterBits

/** Host offset of a compressed cluster's data (bytes). Not masked to 56 bits: a higher one is corrupt. */
export const compressedOffset = (hi: number, lo: number, clusterBits: number): number =>
  (hi & ((1 << offsetBitsHi(clusterBits)) - 1)) * TWO_32 + lo

/** Bytes to read of a compressed cluster. See {@link CompressedExtent}. */
export const compressedBytes = (hi: number, lo: number, clusterBits: number): number =>
  (((hi & ~(COPIED_HI | COMPRESSED_HI)) >>> offsetBitsHi(clusterBits)) + 1) * 512 - (lo & 511)

/** Both of {@link compressedOffset} and {@link compressedBytes}. */
export const compressedExtent = (hi: number, lo: number, clusterBits: number): CompressedExtent => ({
  hostOffset: compressedOffset(hi, lo, clusterBits),
  bytes: compressedBytes(hi, lo, clusterBits),
})

/** Host offsets of compressed clusters must be below this (bytes): bit 56, or less with large clusters. */
export const maxCompressedOffset = (clusterBits: number): number => 2 ** Math.min(56, 70 - clusterBits)
