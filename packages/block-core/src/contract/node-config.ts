/** The configuration of a node for the core, not the driver: the common options of QEMU's `blockdev-add`. */

/** Common options, as users of a node see them. */
export interface NodeConfig {
  readonly readOnly: boolean
  /** `cache.direct`: bypass the page cache of the host system. */
  readonly direct: boolean
  /** `cache.no-flush`: never flush to the disk (fast, and loses data on power failure). */
  readonly noFlush: boolean
  /** `discard`: whether discards and unmapping zero writes are passed down. */
  readonly unmap: boolean
  /** `detect-zeroes`: whether writes of zero bytes become zero writes (`on`), which may also free space (`unmap`). */
  readonly detectZeroes: 'off' | 'on' | 'unmap'
}

/** The same with what only the core and drivers need. */
export interface CoreConfig extends NodeConfig {
  /** Opened to be checked: {@link OpenContext.checkMode}. */
  readonly checkMode: boolean
  /** Opened to be described: {@link OpenContext.noIo}. */
  readonly noIo: boolean
  /** Closed once neither other nodes nor handles use it: what `openNode` opens, the children included. */
  readonly closesUnused: boolean
  /** The options the user gave, for `reopen` and for messages. */
  readonly explicit: Readonly<Record<string, unknown>>
}

/** A writable, unmapping node that outlives its parents. */
export const PLAIN_CONFIG: CoreConfig = {
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
