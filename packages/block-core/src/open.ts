/**
 * The part of the root that opens disks, for pages: what a root names, bundlers load with the rest of it as soon as the
 * page uses it anywhere, even late. A program that starts from here loads jobs and reopening when they are needed.
 * @module
 */
export { BlockError, isBlockError } from './base/errors.ts'
export { denyHost } from './contract/image-resolver.ts'
export { DriverRegistry } from './contract/registry.ts'
export { memory, openMemory } from './drivers/memory.ts'
export { nullCo } from './drivers/null-co.ts'
export { backingOf } from './graph/block-status.ts'
export { isBlockNode } from './graph/known-nodes.ts'
export type {
  AbortSignalLike,
  AnyDriver,
  BlockErrorCode,
  BlockNode,
  Bytes,
  ChainStatus,
  CheckFinding,
  CheckReport,
  CompactReport,
  CreatedFile,
  Disk,
  ImageResolver,
  Listener,
  MeasureReport,
  NodeEvents,
  NodeOptions,
  OpenEnvironment,
} from './index.ts'
export { createImage } from './open/create-image.ts'
export { openNode } from './open/open.ts'
