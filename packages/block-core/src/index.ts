/**
 * The generic block layer: nodes, drivers, options, and the drivers that run everywhere.
 * @module
 */

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
} from './base/arguments.ts'
export { alignDown, alignUp, divUp, isPowerOfTwo, isZero, overlaps, SECTOR, TWO_32 } from './base/bits.ts'
export { Emitter, type EventSource, type EventTable, type Listener } from './base/emitter.ts'
export { codeOfErrno, errnoOf, errorText, fromHostError, strerror } from './base/errno.ts'
export {
  BlockError,
  type BlockErrorCode,
  type BlockErrorDetail,
  type HostErrorCode,
  isBlockError,
  messageOf,
} from './base/errors.ts'
export { pause } from './base/event-loop.ts'
export { loadOnce } from './base/load-once.ts'
export { Mutex } from './base/mutex.ts'
export type { AbortSignalLike, WorkerLike } from './base/platform-types.ts'
export { type HeldRange, RangeTracker } from './base/range-tracker.ts'
export { shared } from './base/shared-state.ts'
export { inParts, SubRequests } from './base/sub-requests.ts'
export * from './contract/changes.ts'
export * from './contract/child-kinds.ts'
export type { CreateContext, Creation } from './contract/creation.ts'
export { DEBUG_EVENTS, type DebugEvent } from './contract/debug-events.ts'
export * from './contract/driver.ts'
export * from './contract/driver-facts.ts'
export type {
  CheckFinding,
  FindingDetails,
  FindingOwner,
  FindingStructure,
  FindingWord,
} from './contract/findings.ts'
export { denyHost, type ImageResolver } from './contract/image-resolver.ts'
export { type JobControl, UNCONTROLLED } from './contract/job-control.ts'
export type { BlockChild, BlockStatus } from './contract/node.ts'
export type { CacheMode, NodeConfig } from './contract/node-config.ts'
export { CACHE_MODES, cacheMode } from './contract/node-config.ts'
export type { IoErrorEvent, NodeEvents } from './contract/node-events.ts'
export * from './contract/node-ops.ts'
export type { OpenEnvironment } from './contract/open-environment.ts'
export type { Permissions, PreparedPermissions } from './contract/permissions.ts'
export { PERMISSION } from './contract/permissions.ts'
export { filePreallocation } from './contract/preallocation.ts'
export { DriverRegistry } from './contract/registry.ts'
export * from './contract/reports.ts'
export * from './contract/requests.ts'
export { Disk } from './disk/disk.ts'
export type { ErrorAction, ErrorPolicy } from './disk/error-policy.ts'
export { setPermissions } from './disk/permissions.ts'
export type { LatencyBoundaries } from './disk/request-watch.ts'
export type { DiskStatistics, LatencyHistogram, RequestCounts, RequestKind } from './disk/statistics.ts'
export { type AroundRequest, aroundRequests, type FilteredRequest } from './drivers/around-requests.ts'
export { type BlkdebugHost, blkdebug, createBlkdebug } from './drivers/blkdebug.ts'
export { copyOnRead } from './drivers/copy-on-read.ts'
export { MEMORY_PAGE, type MemoryFromBytesOptions, memory, memoryFromBytes } from './drivers/memory.ts'
export { nullCo } from './drivers/null-co.ts'
export { type OpsChanges, passThrough, passThroughFilter } from './drivers/pass-through.ts'
export {
  type LogCounts,
  type LogEntry,
  type LoggedRequest,
  WriteLog,
  writeLog,
  writeLogOf,
} from './drivers/write-log.ts'
export { backingIsZero, readBacking } from './format-kit/backing.ts'
export { type NewClusters, writeWithCopies } from './format-kit/copy-on-write.ts'
export { be, type Field, join64, type Layout, layout, le, type ValueOf, viewOf } from './format-kit/layout.ts'
export { type Table, TableCache, type TableCacheOptions } from './format-kit/table-cache.ts'
export {
  backingOf,
  type ChainStatus,
  canHaveBacking,
  chainStatus,
  isAllocatedAbove,
  joinedStatus,
  skipFilters,
} from './graph/block-status.ts'
export { findNode } from './graph/environment.ts'
export { BlockNode, isBlockNode } from './graph/known-nodes.ts'
export { MAX_REQUEST } from './graph/node.ts'
export { requireNode } from './graph/node-arguments.ts'
export { INSPECT, nodeTitle } from './graph/node-text.ts'
export { type CommitOptions, commitNode } from './jobs/commit.ts'
export { type CopyOptions, type CopyPiece, copyNodes } from './jobs/copy.ts'
export {
  type CopyExtent,
  type CopyKind,
  CopyMap,
  type CopyMapOptions,
  type CopyRange,
  type CopySource,
} from './jobs/copy-map.ts'
export { Job, type JobOptions, type JobProgress } from './jobs/job.ts'
export { type SparseRun, SparseRuns, type SparseRunsOptions, type ZeroTest } from './jobs/sparse-runs.ts'
export { LookAhead, StatusCursor, type StatusCursorOptions } from './jobs/status-cursor.ts'
export { forgetContent, formatImage } from './open/format-image.ts'
export { type NodeOptions, openNode } from './open/open.ts'
export { type Guess, guessFormat, tailStart } from './open/probe.ts'
export { type ReopenOptions, reopenNode } from './open/reopen.ts'
export { insertFilter, removeFilter, replaceNode } from './open/rewire.ts'
export { dictionaryEntries, jsonText } from './text/json-text.ts'
export { parseKeyValue } from './text/key-value.ts'
export { type NumberMistake, readInteger, readSize, readUnsigned } from './text/number-text.ts'
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
} from './text/options.ts'
export {
  combinePaths,
  isAbsolutePath,
  pathName,
  protocolOf,
  resolveBackingFilename,
} from './text/paths.ts'
