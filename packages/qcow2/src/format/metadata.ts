/** The kinds of metadata in an image file, as overlap checks distinguish them. */

/** Kinds of metadata, as bits of a set. Their names (overlap.ts) are in this order. */
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

/** Kinds whose places are in the header. */
export const CONSTANT_METADATA =
  Metadata.mainHeader |
  Metadata.activeL1 |
  Metadata.refcountTable |
  Metadata.snapshotTable |
  Metadata.bitmapDirectory
/** Kinds whose places are in memory: guarded unless options say otherwise. */
export const CACHED_METADATA =
  CONSTANT_METADATA | Metadata.activeL2 | Metadata.refcountBlock | Metadata.inactiveL1
