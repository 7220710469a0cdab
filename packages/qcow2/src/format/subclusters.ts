/**
 * The second word of an extended L2 entry. For each of 32 subclusters, it says whether the subcluster is
 * allocated (low half) and whether it reads as zeroes (high half). Bit i is subcluster i.
 */
import { ClusterKind, extendedL2Kind, l2Kind } from './l2-entry.ts'

/** The kind of a subcluster: QEMU's QCow2SubclusterType, in its order. */
export const SubclusterKind = {
  /** No host cluster; the backing file shows through. */
  unallocatedPlain: 0,
  /** There is a host cluster, but the backing file shows through here. */
  unallocatedAlloc: 1,
  zeroPlain: 2,
  /** Reads as zeroes, and there is a host cluster. */
  zeroAlloc: 3,
  normal: 4,
  compressed: 5,
  /** Allocated and zero at once, or allocated without a host cluster: the entry is corrupt. */
  invalid: 6,
} as const
/** One of {@link SubclusterKind}. */
export type SubclusterKind = (typeof SubclusterKind)[keyof typeof SubclusterKind]

/** Every subcluster: `allocMask(0, 32)`. */
export const ALL_SUBCLUSTERS = 0xffff_ffff

/** Bits `from` (included) to `to` (excluded) of 32, as an unsigned number; for either half of the word. */
export function allocMask(from: number, to: number): number {
  const below = to >= 32 ? ALL_SUBCLUSTERS : (1 << to) - 1
  const skipped = from >= 32 ? ALL_SUBCLUSTERS : (1 << from) - 1
  return (below & ~skipped) >>> 0
}

/** How many of the lowest bits of a 32-bit word are clear. */
const trailingZeroes = (word: number): number => (word === 0 ? 32 : 31 - Math.clz32(word & -word))

/**
 * The kind of subcluster `index`. `invalid` depends on the whole entry, whatever the index.
 *
 * @param hi first word of the entry, high half; `lo` its low half
 * @param zeroes second word, high half
 * @param allocated second word, low half
 * @param dataFile see {@link extendedL2Kind}
 */
export function subclusterKind(
  hi: number,
  lo: number,
  zeroes: number,
  allocated: number,
  index: number,
  dataFile = false,
): SubclusterKind {
  const kind = extendedL2Kind(hi, lo, dataFile)
  if (kind === ClusterKind.compressed) return SubclusterKind.compressed
  const bit = 1 << index
  if (kind === ClusterKind.normal) {
    if ((zeroes & allocated) !== 0) return SubclusterKind.invalid
    if ((zeroes & bit) !== 0) return SubclusterKind.zeroAlloc
    return (allocated & bit) !== 0 ? SubclusterKind.normal : SubclusterKind.unallocatedAlloc
  }
  if (allocated !== 0) return SubclusterKind.invalid
  return (zeroes & bit) !== 0 ? SubclusterKind.zeroPlain : SubclusterKind.unallocatedPlain
}

/** {@link subclusterKind} by {@link ClusterKind}, for images whose clusters are not divided. */
const UNDIVIDED: readonly SubclusterKind[] = [
  SubclusterKind.unallocatedPlain,
  SubclusterKind.zeroPlain,
  SubclusterKind.zeroAlloc,
  SubclusterKind.normal,
  SubclusterKind.compressed,
]

/** The kind of a cluster without subclusters, as a {@link SubclusterKind}. */
export const undividedKind = (hi: number, lo: number, dataFile = false): SubclusterKind =>
  UNDIVIDED[l2Kind(hi, lo, dataFile)]!

/** How many subclusters from `from` on have the kind of that one; an invalid entry is so to its end. */
export function countSame(zeroes: number, allocated: number, from: number, kind: SubclusterKind): number {
  const behind = allocMask(from, 32)
  switch (kind) {
    case SubclusterKind.normal:
      return trailingZeroes(~allocated & behind) - from
    case SubclusterKind.zeroPlain:
    case SubclusterKind.zeroAlloc:
      return trailingZeroes(~zeroes & behind) - from
    case SubclusterKind.unallocatedPlain:
    case SubclusterKind.unallocatedAlloc:
      return trailingZeroes((zeroes | allocated) & behind) - from
    case SubclusterKind.compressed:
    case SubclusterKind.invalid:
      return 32 - from
  }
}
