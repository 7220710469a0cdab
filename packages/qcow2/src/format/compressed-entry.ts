/** The L2 entries of compressed clusters, as they are written; apart from l2-entry.ts, since few images need them. */
import { TWO_32 } from '@vmblock/block-core/driver'
import { COMPRESSED_HI, offsetBitsHi } from './l2-entry.ts'

/** High half of the entry of a compressed cluster at `offset` of `bytes` bytes, less than a cluster. */
export function compressedEntryHi(offset: number, bytes: number, clusterBits: number): number {
  const sectors = Math.floor((offset + bytes - 1) / 512) - Math.floor(offset / 512)
  return (COMPRESSED_HI | (sectors << offsetBitsHi(clusterBits)) | Math.floor(offset / TWO_32)) >>> 0
}

/** Low half of the entry of a compressed cluster at `offset` (bytes). */
export const compressedEntryLo = (offset: number): number => offset % TWO_32
