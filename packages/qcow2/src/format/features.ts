/** Feature bits of the three header words. */

/** A reader that does not know one of these must refuse the image. */
export const Incompatible = {
  /** Refcounts may be stale: repair before the first write. */
  dirty: 1n << 0n,
  /** Metadata contradicts itself: not to be written except by a repair. */
  corrupt: 1n << 1n,
  /** Guest clusters live in another file. */
  dataFile: 1n << 2n,
  /** The compression type is not deflate. */
  compression: 1n << 3n,
  /** L2 entries are 16 bytes and describe 32 subclusters each. */
  extendedL2: 1n << 4n,
} as const

/** May be ignored, and must be kept. */
export const Compatible = {
  /** A writer may set the dirty bit and postpone refcount updates. */
  lazyRefcounts: 1n << 0n,
} as const

/** A writer that does not know one of these clears it before its first write. */
export const Autoclear = {
  /** The bitmaps extension is consistent with the image. */
  bitmaps: 1n << 0n,
  /** The data file can be read alone, as a raw image. */
  dataFileRaw: 1n << 1n,
} as const

const union = (bits: Readonly<Record<string, bigint>>): bigint =>
  Object.values(bits).reduce((all, bit) => all | bit, 0n)

/** All incompatible bits that are known. */
export const KNOWN_INCOMPATIBLE = union(Incompatible)
/** All autoclear bits that are known. */
export const KNOWN_AUTOCLEAR = union(Autoclear)
