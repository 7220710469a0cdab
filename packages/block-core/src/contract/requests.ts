/**
 * What requests look like between the core and a driver: limits, flags, and how a disk changes its size.
 */

/** Modifiers of a write, a zero write or a compressed write. */
export interface WriteFlags {
  /** The data must be on stable storage when the promise resolves (force unit access). */
  readonly fua?: boolean
  /** `writeZeroes` only: the driver may deallocate instead of writing. */
  readonly mayUnmap?: boolean
  /** `writeZeroes` only: fail with ENOTSUP rather than write zero bytes. */
  readonly noFallback?: boolean
}

/** The flags that a driver may declare it handles itself. */
export type WriteFlag = keyof WriteFlags

/** What a driver requires of requests; the core guarantees it. All in bytes. */
export interface BlockLimits {
  /** Every offset and length a driver sees is a multiple of this (a power of two). Default 1. */
  readonly requestAlignment: number
  /** Longest read or write passed to the driver; longer ones are split. Default: no limit. */
  readonly maxTransfer: number
  /** Zero writes are cut at multiples of this; unaligned ends are sent separately. Default 1. */
  readonly writeZeroesAlignment: number
  /** Longest zero write passed to the driver. Default: no limit. */
  readonly maxWriteZeroes: number
  /** Discards are cut at multiples of this; unaligned ends are sent separately. Default 1. */
  readonly discardAlignment: number
  /** Longest discard passed to the driver. Default: no limit. */
  readonly maxDiscard: number
  /**
   * Compressed writes are whole multiples of this from a multiple of this on, but may end with the disk: the
   * cluster of the format. Longer ones are split by {@link maxTransfer}, but never within such a unit. Default:
   * {@link requestAlignment}.
   */
  readonly compressedAlignment: number
}

/** How much of a grown area is allocated, and whether it is filled. */
export type Preallocation = 'off' | 'metadata' | 'falloc' | 'full'

/** Modifiers of `truncate`. */
export interface TruncateOptions {
  readonly preallocation?: Preallocation
  /** The node must end up exactly this large; without it, a node that cannot shrink may stay larger. */
  readonly exact?: boolean
  /** The grown area must read as zeroes even if a backing file has data there. */
  readonly zero?: boolean
}
