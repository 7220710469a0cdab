/** Feature bits of the three header words, their names, and the message for unknown bits. */

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

/** The header words of feature bits, as the feature name table numbers them. */
export const FeatureWord = { incompatible: 0, compatible: 1, autoclear: 2 } as const

/** One row of a feature name table. */
export interface FeatureName {
  /** See {@link FeatureWord}; a broken table may hold anything. */
  readonly word: number
  /** 0 to 63; a broken table may hold up to 255. */
  readonly bit: number
  /** At most 46 bytes. */
  readonly name: string
}

/** The table that QEMU 7.2 writes, in its order (taken from an image that it created). */
// biome-ignore format: a table
export const FEATURE_NAMES: readonly FeatureName[] = [
  { word: 0, bit: 0, name: 'dirty bit' },
  { word: 0, bit: 1, name: 'corrupt bit' },
  { word: 0, bit: 2, name: 'external data file' },
  { word: 0, bit: 3, name: 'compression type' },
  { word: 0, bit: 4, name: 'extended L2 entries' },
  { word: 1, bit: 0, name: 'lazy refcounts' },
  { word: 2, bit: 0, name: 'bitmaps' },
  { word: 2, bit: 1, name: 'raw external data' },
]

/**
 * Names incompatible bits by the image's own table, and the rest by number, in QEMU's words. A row without a
 * name ends the table.
 */
export function describeUnknown(bits: bigint, table: readonly FeatureName[]): string {
  const parts: string[] = []
  let left = bits
  for (const { word, bit, name } of table) {
    if (name === '') break
    if (word !== FeatureWord.incompatible || bit > 63 || (left & (1n << BigInt(bit))) === 0n) continue
    parts.push(name)
    left &= ~(1n << BigInt(bit))
  }
  if (left !== 0n) parts.push(`Unknown incompatible feature: ${left.toString(16)}`)
  return parts.join(', ')
}
