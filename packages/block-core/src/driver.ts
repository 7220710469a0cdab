/**
 * For authors of drivers, and for packages that stand on the block layer: how a driver is declared, what formats are
 * made of, QEMU's grammars of options, names and sizes, and the checks of arguments that give every error one form.
 * @module
 */

// Arguments and their errors.
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
// What formats are made of.
export { alignDown, alignUp, divUp, isPowerOfTwo, isZero, SECTOR, TWO_32 } from './base/bits.ts'
// Errors, events, turns of the event loop, and code that is loaded late.
export { Emitter } from './base/emitter.ts'
export { BlockError, type BlockErrorCode, isBlockError, messageOf } from './base/errors.ts'
export { pause } from './base/event-loop.ts'
export { loadOnce } from './base/load-once.ts'
export { Mutex } from './base/mutex.ts'
export type { UrlLike, WorkerLike } from './base/platform-types.ts'
export { type HeldRange, RangeTracker } from './base/range-tracker.ts'
export { shared } from './base/shared-state.ts'
export { inParts } from './base/sub-requests.ts'
// Declaring a driver.
export * from './contract/bitmaps.ts'
export * from './contract/changes.ts'
export * from './contract/child-kinds.ts'
export type {
  BackingFacts,
  CreateContext,
  Creation,
  MeasureContext,
  MeasureReport,
} from './contract/creation.ts'
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
export {
  type AmendControl,
  type JobControl,
  type PieceControl,
  type PieceOptions,
  type RunAlone,
  UNCONTROLLED,
} from './contract/job-control.ts'
export type {
  BlockChild,
  BlockEdge,
  BlockNode,
  BlockStatus,
  NodeBelow,
  NodeOperation,
} from './contract/node.ts'
export * from './contract/node-ops.ts'
export type { Permissions, PreparedPermissions } from './contract/permissions.ts'
export { filePreallocation } from './contract/preallocation.ts'
export * from './contract/reports.ts'
export * from './contract/requests.ts'
export * from './contract/snapshots.ts'
// Filters.
export { type AroundRequest, aroundRequests, type FilteredRequest } from './drivers/around-requests.ts'
export { forwardOps, type OpsChanges } from './drivers/pass-through.ts'
export { backingIsZero, readBacking } from './format-kit/backing.ts'
export {
  BlockMap,
  type BlockMapFormat,
  endOfBlocks,
  NO_BLOCK,
  type NewBlock,
  ZERO_BLOCK,
} from './format-kit/block-map.ts'
export { type NewClusters, writeWithCopies } from './format-kit/copy-on-write.ts'
export { be, type Field, join64, type Layout, layout, le, type ValueOf, viewOf } from './format-kit/layout.ts'
export { type Table, TableCache, type TableCacheOptions } from './format-kit/table-cache.ts'
export { canHaveBacking, joinedStatus } from './graph/block-status.ts'
export { MAX_REQUEST } from './graph/node.ts'
export { requireNode } from './graph/node-arguments.ts'
export { closedError, outsideError, readOnlyError } from './graph/node-errors.ts'
export { breakpointsOf, opsOf, setPatience } from './graph/node-internals.ts'
export { INSPECT, nodeTitle } from './graph/node-text.ts'
export { type Beneath, beneathOf, differences, type EqualBytes } from './jobs/beneath.ts'
export { forgetContent } from './open/format-image.ts'
export { type Guess, guessFormat, tailStart } from './open/probe.ts'
// QEMU's grammars: names, numbers, JSON, options.
export { dictionaryEntries, jsonText } from './text/json-text.ts'
export { type NumberMistake, readInteger, readSize, readUnsigned } from './text/number-text.ts'
export { flattenOptions, isTree, optionTree } from './text/option-tree.ts'
export {
  bool,
  camelKey,
  integer,
  keyOfTable,
  listOf,
  type NoOptions,
  type OptionInput,
  type OptionTable,
  type OptionType,
  type OptionValues,
  objectOf,
  oneOf,
  parseOptions,
  type RawOptions,
  size,
  text,
} from './text/options.ts'
export { combinePaths, pathName, protocolOf, resolveBackingFilename } from './text/paths.ts'
