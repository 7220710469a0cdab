/** The kinds of metadata in an image file, as overlap checks distinguish them. */

/** Kinds of metadata, as bits of a set. */
export const Metadata = {
  mainHeader: 1,
  activeL1: 2,
  activeL2: 4,
  refcountTable: 8,
  refcountBlock: 16,
  snapshotTable: 32,
  inactiveL1: 64,
  inactiveL2: 128,
  bitmapDirectory: 256,
} as const

const CONSTANT =
  Metadata.mainHeader |
  Metadata.activeL1 |
  Metadata.refcountTable |
  Metadata.snapshotTable |
  Metadata.bitmapDirectory
const CACHED = CONSTANT | Metadata.activeL2 | Metadata.refcountBlock | Metadata.inactiveL1

/** The templates of `overlap-check`, and the classes of each. */
export const OVERLAP_TEMPLATES: Readonly<Record<string, number>> = {
  none: 0,
  constant: CONSTANT,
  cached: CACHED,
  all: CACHED | Metadata.inactiveL2,
}
