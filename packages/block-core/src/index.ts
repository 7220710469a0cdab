/**
 * The generic block layer: nodes, drivers, options, and the drivers that run everywhere.
 * @module
 */
export { unshareWrites } from './access.ts'
export {
  type Bytes,
  bytesOf,
  bytesToFill,
  type Check,
  expects,
  goneBuffer,
  isCount,
  isPlain,
  oneOfWords,
  requireCallback,
  requireCount,
  requireFlag,
  requireOptions,
  requirePositive,
  requireSignal,
  requireText,
  shown,
  wrongValue,
} from './arguments.ts'
export { backingIsZero, readBacking } from './backing.ts'
export { alignDown, alignUp, divUp, isPowerOfTwo, isZero, overlaps, SECTOR, TWO_32 } from './bits.ts'
export {
  backingOf,
  type ChainStatus,
  canHaveBacking,
  chainStatus,
  isAllocatedAbove,
  joinedStatus,
  skipFilters,
} from './block-status.ts'
export { BlockChild } from './child.ts'
export { type CommitOptions, commitNode } from './commit.ts'
export { type CopyOptions, type CopyPiece, copyNodes } from './copy.ts'
export {
  type CopyKind,
  CopyMap,
  type CopyMapOptions,
  type CopyPlace,
  type CopyRange,
  type CopySource,
} from './copy-map.ts'
export { type NewClusters, writeWithCopies } from './copy-on-write.ts'
export { DEBUG_EVENTS, type DebugEvent } from './debug-events.ts'
export * from './driver.ts'
export { type BlkdebugHost, blkdebug, createBlkdebug } from './drivers/blkdebug.ts'
export { copyOnRead } from './drivers/copy-on-read.ts'
export { pause } from './drivers/event-loop.ts'
export { MEMORY_PAGE, type MemoryFromBytesOptions, memory, memoryFromBytes } from './drivers/memory.ts'
export { nullCo } from './drivers/null-co.ts'
export { passThrough, passThroughFilter } from './drivers/pass-through.ts'
export {
  type LogCounts,
  type LogEntry,
  type LoggedRequest,
  WriteLog,
  writeLog,
  writeLogOf,
} from './drivers/write-log.ts'
export { findNode, type OpenEnvironment } from './environment.ts'
export { codeOfErrno, errnoOf, errorText, fromHostError, strerror } from './errno.ts'
export {
  BlockError,
  type BlockErrorCode,
  type BlockErrorDetail,
  type HostErrorCode,
  isBlockError,
  messageOf,
} from './errors.ts'
export { forgetContent, formatImage } from './format-image.ts'
export { denyHost, type OpenHost } from './host.ts'
export { dictionaryEntries, jsonText } from './json-text.ts'
export { parseKeyValue } from './key-value.ts'
export { isBlockNode } from './known-nodes.ts'
export { be, type Field, join64, type Layout, layout, le, type ValueOf, viewOf } from './layout.ts'
export { loadOnce } from './load-once.ts'
export { Mutex } from './mutex.ts'
export { BlockNode, MAX_REQUEST } from './node.ts'
export { type NodeCheckOptions, requireNode } from './node-arguments.ts'
export { CACHE_MODES, type CacheMode, cacheMode, type NodeConfig } from './node-config.ts'
export type { IoErrorEvent, NodeEvents } from './node-events.ts'
export { INSPECT, type NodeFacts, nodeTitle } from './node-text.ts'
export { type NumberMistake, readInteger, readSize, readUnsigned } from './number-text.ts'
export { type NodeOptions, openNode } from './open.ts'
export {
  bool,
  camelKey,
  canonicalKey,
  integer,
  listOf,
  type OptionTable,
  type OptionType,
  type OptionValues,
  objectOf,
  oneOf,
  parseOptions,
  parseSize,
  type RawOptions,
  size,
  text,
} from './options.ts'
export {
  combinePaths,
  isAbsolutePath,
  pathName,
  protocolOf,
  resolveBackingFilename,
} from './paths.ts'
export { PERMISSION } from './permissions.ts'
export type { AbortSignalLike, WorkerLike } from './platform-types.ts'
export { filePreallocation } from './preallocation.ts'
export { type Guess, guessFormat, tailStart } from './probe.ts'
export { type HeldRange, RangeTracker } from './range-tracker.ts'
export { DriverRegistry } from './registry.ts'
export { type ReopenOptions, reopenNode } from './reopen.ts'
export { shared } from './shared-state.ts'
export { type SparseRun, SparseRuns, type SparseRunsOptions, type ZeroTest } from './sparse-runs.ts'
export { LookAhead, StatusCursor, type StatusCursorOptions } from './status-cursor.ts'
export { inParts, SubRequests } from './sub-requests.ts'
export { type Table, TableCache, type TableCacheOptions } from './table-cache.ts'
