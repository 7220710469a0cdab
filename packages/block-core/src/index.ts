/**
 * The generic block layer: nodes, drivers, options, and the drivers that run everywhere.
 * @module
 */
export { alignDown, alignUp, divUp, isPowerOfTwo, isZero, overlaps, SECTOR, TWO_32 } from './bits.ts'
export { backingOf, chainStatus, type ChainStatus, isAllocatedAbove, skipFilters } from './block-status.ts'
export { BlockChild } from './child.ts'
export { DEBUG_EVENTS, type DebugEvent } from './debug-events.ts'
export * from './driver.ts'
export { codeOfErrno, errnoOf, errorText, fromHostError, strerror } from './errno.ts'
export { BlockError, type BlockErrorCode, type BlockErrorDetail, isBlockError, messageOf } from './errors.ts'
export { denyHost, type OpenHost } from './host.ts'
export { be, type Field, join64, type Layout, layout, le, type ValueOf, viewOf } from './layout.ts'
export { Mutex } from './mutex.ts'
export { BlockNode, type IoErrorEvent, MAX_REQUEST, type NodeEvents } from './node.ts'
export { CACHE_MODES, type CacheMode, cacheMode, type NodeConfig } from './node-config.ts'
export { type NodeOptions, type OpenEnvironment, openNode } from './open.ts'
export {
  bool,
  camelKey,
  canonicalKey,
  integer,
  listOf,
  oneOf,
  type OptionTable,
  type OptionType,
  type OptionValues,
  parseOptions,
  parseSize,
  type RawOptions,
  size,
  text,
} from './options.ts'
export { RangeTracker } from './range-tracker.ts'
export { DriverRegistry } from './registry.ts'
