/** The configuration of a node for the core, not the driver: the common options of QEMU's `blockdev-add`. */

/** Common options, parsed. */
export interface NodeConfig {
  readonly readOnly: boolean
  /** `cache.direct`: bypass the page cache of the host system. */
  readonly direct: boolean
  /** `cache.no-flush`: never flush to the disk (fast, and loses data on power failure). */
  readonly noFlush: boolean
  /** `discard`: whether discards and unmapping zero writes are passed down. */
  readonly unmap: boolean
  readonly detectZeroes: 'off' | 'on' | 'unmap'
  readonly checkMode: boolean
  readonly noIo: boolean
  /** Closed once neither other nodes nor handles use it: what `openNode` opens, the children included. */
  readonly closesUnused: boolean
  /** The options the user gave, for `reopen` and for messages. */
  readonly explicit: Readonly<Record<string, unknown>>
}

/** A writable, unmapping node that outlives its parents. */
export const PLAIN_CONFIG: NodeConfig = {
  readOnly: false,
  direct: false,
  noFlush: false,
  unmap: true,
  detectZeroes: 'off',
  checkMode: false,
  noIo: false,
  closesUnused: false,
  explicit: {},
}

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
