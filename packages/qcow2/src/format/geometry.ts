/**
 * Sizes derived from cluster size, refcount width and L2 entry size, computed once when an image is opened.
 */

/** Cluster sizes that QEMU accepts, as powers of two: 512 bytes to 2 MiB (block/qcow2.h). */
export const MIN_CLUSTER_BITS = 9
/** See {@link MIN_CLUSTER_BITS}. */
export const MAX_CLUSTER_BITS = 21

/** Subclusters per cluster of an image with extended L2 entries. */
export const SUBCLUSTERS = 32

/** Sizes derived from three header fields. Sizes are bytes, the rest counts. */
export interface Geometry {
  readonly clusterBits: number
  readonly clusterSize: number
  /** 8, or 16 with extended L2 entries. */
  readonly l2EntrySize: number
  /** Entries per L2 table, which is one cluster. */
  readonly l2Entries: number
  /** Per cluster: 1, or 32 with extended L2 entries. */
  readonly subclusters: number
  readonly subclusterSize: number
  readonly refcountOrder: number
  /** Width of a refcount: 1 to 64. */
  readonly refcountBits: number
  /** Refcounts per refcount block, which is one cluster. */
  readonly refblockEntries: number
  /** Guest bytes that one L2 table describes. */
  readonly l2Coverage: number
}

/** Derives a {@link Geometry} from valid header fields. */
export function geometryOf(clusterBits: number, refcountOrder: number, extendedL2: boolean): Geometry {
  const clusterSize = 2 ** clusterBits
  const l2EntrySize = extendedL2 ? 16 : 8
  const l2Entries = clusterSize / l2EntrySize
  const subclusters = extendedL2 ? SUBCLUSTERS : 1
  const refcountBits = 2 ** refcountOrder
  return {
    clusterBits,
    clusterSize,
    l2EntrySize,
    l2Entries,
    subclusters,
    subclusterSize: clusterSize / subclusters,
    refcountOrder,
    refcountBits,
    refblockEntries: (clusterSize * 8) / refcountBits,
    l2Coverage: l2Entries * clusterSize,
  }
}

/** L1 entries that a disk of `size` bytes needs. The VM state begins at that index. */
export const l1EntriesFor = (geometry: Pick<Geometry, 'l2Coverage'>, size: number): number =>
  Math.ceil(size / geometry.l2Coverage)
