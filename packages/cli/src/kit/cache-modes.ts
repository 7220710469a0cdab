/** The cache modes of the programs' `-t` and `-T`: names for what are three options of a node. */

/** QEMU's cache modes (`-t`), each a triple of flags. */
// biome-ignore format: a table
export const CACHE_MODES = {
  writeback:    { writeCache: true,  direct: false, noFlush: false },
  none:         { writeCache: true,  direct: true,  noFlush: false },
  writethrough: { writeCache: false, direct: false, noFlush: false },
  directsync:   { writeCache: false, direct: true,  noFlush: false },
  unsafe:       { writeCache: true,  direct: false, noFlush: true },
} as const

/** A cache mode by QEMU's name; `off` is its old name for `none`. */
export type CacheMode = keyof typeof CACHE_MODES

/** The flags of a cache mode; undefined for a name QEMU does not know. */
export const cacheMode = (name: string): (typeof CACHE_MODES)[CacheMode] | undefined =>
  name === 'off' ? CACHE_MODES.none : (CACHE_MODES as Record<string, (typeof CACHE_MODES)[CacheMode]>)[name]
