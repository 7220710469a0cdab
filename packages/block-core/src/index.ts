/**
 * The generic block layer for applications that build graphs: nodes, their handles, jobs, and the drivers that run
 * everywhere. What authors of drivers need is in `@vmblock/block-core/driver`.
 * @module
 */

export type { Bytes } from './base/arguments.ts'
export type { EventSource, EventTable, Listener } from './base/emitter.ts'
export {
  BlockError,
  type BlockErrorCode,
  type BlockErrorDetail,
  type HostErrorCode,
  isBlockError,
  messageOf,
} from './base/errors.ts'
export type { AbortSignalLike } from './base/platform-types.ts'
export type { BitmapInfo, DirtyRange, NewBitmap } from './contract/bitmaps.ts'
export type { Change, ChangeKind, ChangeObserver, ReadOld } from './contract/changes.ts'
export type { MeasureReport } from './contract/creation.ts'
export type { AnyDriver, BlockDriver, CreatedFile } from './contract/driver.ts'
export type {
  CheckFinding,
  FindingOwner,
  FindingStructure,
  FindingWord,
} from './contract/findings.ts'
export { denyHost, type ImageResolver } from './contract/image-resolver.ts'
export type { AmendControl, JobControl, PieceOptions } from './contract/job-control.ts'
export type { BlockEdge, BlockStatus, NodeOperation } from './contract/node.ts'
export type { NodeConfig } from './contract/node-config.ts'
export type { IoErrorEvent, NodeEvents } from './contract/node-events.ts'
export type {
  ChildOptions,
  CommonNodeOptions,
  CreateImageOptions,
  CreationOptions,
  DriverCreateImageOptions,
  DriverNodeOptions,
  FileCreationOptions,
  NewFileOptions,
  NewImageOptions,
  NodeOptions,
  OptionsOfDriver,
} from './contract/node-options.ts'
export type { OpenEnvironment } from './contract/open-environment.ts'
export { PERMISSION, type Permissions } from './contract/permissions.ts'
export { DriverRegistry } from './contract/registry.ts'
export type {
  CheckReport,
  CompactReport,
  CorruptEvent,
  NodeCheckOptions,
  NodeFacts,
  NodeInfo,
  RepairMode,
  SnapshotInfo,
} from './contract/reports.ts'
export type {
  BlockLimits,
  Preallocation,
  TruncateOptions,
  WriteFlag,
  WriteFlags,
} from './contract/requests.ts'
export type { SnapshotChoice } from './contract/snapshots.ts'
export { Disk } from './disk/disk.ts'
export type { ErrorAction, ErrorPolicy } from './disk/error-policy.ts'
export { setPermissions } from './disk/permissions.ts'
export type { LatencyBoundaries } from './disk/request-watch.ts'
export type { DiskStatistics, LatencyHistogram, RequestCounts, RequestKind } from './disk/statistics.ts'
export { type BlkdebugHost, blkdebug, createBlkdebug } from './drivers/blkdebug.ts'
export { compress } from './drivers/compress.ts'
export { copyOnRead } from './drivers/copy-on-read.ts'
export { memory, type OpenMemoryOptions, openMemory } from './drivers/memory.ts'
export { nullCo } from './drivers/null-co.ts'
export { passThrough } from './drivers/pass-through.ts'
export {
  type LogCounts,
  type LogEntry,
  type LoggedRequest,
  WriteLog,
  writeLog,
  writeLogOf,
} from './drivers/write-log.ts'
export { type Bitmaps, bitmapsOf } from './features/bitmaps.ts'
export { type SnapshotOptions, type Snapshots, snapshotsOf } from './features/snapshots.ts'
export {
  backingOf,
  type ChainStatus,
  skipFilters,
} from './graph/block-status.ts'
export { findNode } from './graph/environment.ts'
export { BlockNode, isBlockNode } from './graph/known-nodes.ts'
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
export { type RebaseOptions, rebaseNode } from './jobs/rebase.ts'
export type { SparseRunsOptions, ZeroTest } from './jobs/sparse-runs.ts'
export { createImage } from './open/create-image.ts'
export { type FormatChoices, formatImage } from './open/format-image.ts'
export { measureImage } from './open/measure-image.ts'
export { openNode } from './open/open.ts'
export { type ReopenOptions, reopenNode } from './open/reopen.ts'
export { insertFilter, removeFilter, replaceNode } from './open/rewire.ts'
export type { RawOptions } from './text/options.ts'
