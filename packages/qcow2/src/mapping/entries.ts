/** L2 entries of a cached slice: reading, changing, comparing and freeing them. */
import { alignDown, divUp, type Table } from '@vmblock/block-core/driver'
import {
  type ClusterKind,
  COMPRESSED_HI,
  compressedExtent,
  extendedL2Kind,
  hostOffsetOf,
  l2Kind,
} from '../format/l2-entry.ts'
import { type SubclusterKind, subclusterKind, undividedKind } from '../format/subclusters.ts'
import type { FreeReason } from '../image/frees.ts'
import type { Image } from '../image/image.ts'

/** The words of one L2 entry; the two bitmaps of subclusters are 0 without extended L2. */
export interface L2Entry {
  hi: number
  lo: number
  zeroes: number
  allocated: number
}

/** An entry that refers to nothing. */
export const NOTHING: L2Entry = Object.freeze({ hi: 0, lo: 0, zeroes: 0, allocated: 0 })

/** Reads an entry. */
export function entryAt(image: Image, table: Table, index: number): L2Entry {
  const { view } = table
  if (!image.extendedL2)
    return { hi: view.getUint32(index * 8), lo: view.getUint32(index * 8 + 4), zeroes: 0, allocated: 0 }
  const at = index * 16
  return {
    hi: view.getUint32(at),
    lo: view.getUint32(at + 4),
    zeroes: view.getUint32(at + 8),
    allocated: view.getUint32(at + 12),
  }
}

/** Changes an entry. The caller marks the slice as changed in the cache. */
export function setEntry(image: Image, table: Table, index: number, entry: L2Entry): void {
  const at = index * image.geometry.l2EntrySize
  table.view.setUint32(at, entry.hi)
  table.view.setUint32(at + 4, entry.lo)
  if (!image.extendedL2) return
  table.view.setUint32(at + 8, entry.zeroes)
  table.view.setUint32(at + 12, entry.allocated)
}

/** Whether two entries are equal. */
export const sameEntry = (a: L2Entry, b: L2Entry): boolean =>
  a.hi === b.hi && a.lo === b.lo && a.zeroes === b.zeroes && a.allocated === b.allocated

/** The kind of a subcluster. Without extended L2 entries, a cluster is its only subcluster. */
export const kindOf = (image: Image, entry: L2Entry, sub: number): SubclusterKind =>
  image.extendedL2
    ? subclusterKind(entry.hi, entry.lo, entry.zeroes, entry.allocated, sub, image.hasDataFile)
    : undividedKind(entry.hi, entry.lo, image.hasDataFile)

/** The kind of a whole cluster, by the first word of its entry. */
export const clusterKindOf = (image: Image, hi: number, lo: number): ClusterKind =>
  image.extendedL2 ? extendedL2Kind(hi, lo, image.hasDataFile) : l2Kind(hi, lo, image.hasDataFile)

/** Notes the clusters of an entry as freed: it no longer refers to them. */
export function freeEntry(image: Image, { hi, lo }: L2Entry, reason: FreeReason): void {
  const { clusterSize, clusterBits } = image.geometry
  if ((hi & COMPRESSED_HI) !== 0) {
    const { hostOffset, bytes } = compressedExtent(hi, lo, clusterBits)
    const start = alignDown(hostOffset, clusterSize)
    image.store.free(start, divUp(hostOffset + bytes - start, clusterSize) * clusterSize, reason)
    return
  }
  const host = hostOffsetOf(hi, lo)
  if (host !== 0) image.store.free(host, clusterSize, reason)
}
