/**
 * A node of the block graph as its users see it, and the edge through which a driver reaches a child: interfaces, so
 * that a driver can be tested with plain objects. What a node is inside is in graph/links.ts.
 */
import type { Bytes } from '../base/arguments.ts'
import type { EventSource } from '../base/emitter.ts'
import type { ChangeObserver } from './changes.ts'
import type { ChildKind } from './child-kinds.ts'
import type { DebugEvent } from './debug-events.ts'
import type { DriverFacts } from './driver-facts.ts'
import type { AmendControl, JobControl, PieceOptions } from './job-control.ts'
import type { NodeConfig } from './node-config.ts'
import type { NodeEvents } from './node-events.ts'
import type { NodeOps } from './node-ops.ts'
import type {
  CheckReport,
  CompactReport,
  NodeCheckOptions,
  NodeFacts,
  NodeInfo,
  SnapshotInfo,
} from './reports.ts'
import type { BlockLimits, TruncateOptions, WriteFlags } from './requests.ts'

/**
 * The state of a run of bytes: the table of QEMU's `BDRV_BLOCK_*` (include/block/block-common.h).
 *
 * | data | zero | host | meaning |
 * |------|------|------|---------|
 * | yes  | no   | yes  | data at that host offset |
 * | yes  | no   | no   | data, not readable in place (compressed) |
 * | yes  | yes  |      | allocated, reads as zeroes |
 * | no   | yes  | yes  | preallocated, reads as zeroes |
 * | no   | yes  | no   | reads as zeroes |
 * | no   | no   | yes  | preallocated, reads from the backing file |
 * | no   | no   | no   | unallocated, reads from the backing file |
 */
export interface BlockStatus {
  /** How many bytes, from the requested offset on, share this status. At least 1. */
  readonly bytes: number
  /** This layer determines the content; if not, a backing file does. */
  readonly allocated: boolean
  readonly data: boolean
  readonly zero: boolean
  readonly compressed?: boolean
  /** Where the raw bytes can be read directly; `offset` in bytes of that child. */
  readonly host?: { readonly child: BlockEdge; readonly offset: number }
  /** The status of the child at `host` applies instead of this one (filters and raw). */
  readonly forward?: boolean
  /** The child at `host` may have holes in this data; its status says where. */
  readonly recurse?: boolean
}

/** What a driver may implement itself, or leave to the core: see {@link BlockNode.can}. */
export type NodeOperation =
  | 'write'
  | 'writeCompressed'
  | 'writeZeroes'
  | 'discard'
  | 'blockStatus'
  | 'copyRange'
  | 'truncate'
  | 'flush'
  | 'readVmState'
  | 'writeVmState'
  | 'check'
  | 'info'
  | 'listSnapshots'
  | 'snapshots'
  | 'makeEmpty'
  | 'changeBackingFile'
  | 'amend'
  | 'compact'

/** A disk, or a layer of one. Offsets and lengths are bytes. */
export interface BlockNode extends EventSource<NodeEvents> {
  readonly name: string
  readonly driver: DriverFacts
  readonly filename: string
  /** By option name, in the driver's order; those of a list as `extents.0`, `extents.1`, ... */
  readonly children: ReadonlyMap<string, BlockEdge>
  /** The child that holds the bytes of this node: the node below a filter, or the file of a format. */
  readonly file: BlockEdge | undefined
  readonly backing: BlockEdge | undefined
  /** Whether other nodes use this one: then it cannot be closed. */
  readonly hasParents: boolean
  /** Bytes. */
  readonly size: number
  readonly limits: BlockLimits
  readonly config: NodeConfig
  readonly readOnly: boolean
  /** Whether writes may extend the node. */
  readonly growable: boolean
  readonly isOpen: boolean

  /** Whether the driver itself implements an operation; fallbacks (writing zero bytes) do not count. */
  can(operation: NodeOperation): boolean

  // ---- requests ----

  /**
   * Fills all of `into` with the content at `offset`.
   *
   * @throws BlockError EINVAL for arguments of other types, EIO outside the node, ENOMEDIUM when closed,
   *   ECANCELED if the node crashes meanwhile
   */
  read(offset: number, into: Bytes): Promise<void>
  /**
   * Writes `from` at `offset`. With `fua`, or through a handle whose write cache is off, it is durable when the promise
   * resolves.
   *
   * @throws BlockError EINVAL for arguments of other types, EIO outside the node, EPERM when read-only, ENOMEDIUM when
   *   closed, ECANCELED
   */
  write(offset: number, from: Bytes, flags?: WriteFlags): Promise<void>
  /**
   * Writes data compressed, if the format can: whole clusters ({@link BlockLimits.compressedAlignment}), the last of
   * which may end with the disk.
   *
   * @throws BlockError ENOTSUP; EINVAL for part of a cluster; what {@link write} throws
   */
  writeCompressed(offset: number, from: Bytes): Promise<void>
  /** Makes a range read as zeroes: by the driver's zero writes, else (unless `noFallback`) by zero bytes. */
  writeZeroes(offset: number, bytes: number, flags?: WriteFlags): Promise<void>
  /** Gives up the content of a range. Does nothing if the driver cannot discard, or discard is off. */
  discard(offset: number, bytes: number): Promise<void>
  /**
   * Copies from another node inside the host system, so that the bytes do not pass through this process.
   * `source` is a protocol node: `host.child.node` from the {@link blockStatus} of the data, at
   * `host.offset`. Use it only for data: a hole may become zeroes that take space.
   *
   * @throws BlockError ENOTSUP if these two nodes do not support it: then the whole range must be copied
   *   another way; EIO outside either node; what {@link write} throws
   */
  copyRange(offset: number, bytes: number, source: BlockNode, sourceOffset: number): Promise<void>
  /** Makes all requests durable that completed before the call. Many flushes share one; they resume in turns. */
  flush(): Promise<void>
  /**
   * Changes the size, in bytes.
   *
   * @throws BlockError EPERM when read-only, ENOTSUP, EINVAL
   */
  truncate(size: number, options?: TruncateOptions): Promise<void>
  /**
   * What this layer holds at `offset`. The answer may be shorter than `bytes`, never longer. In a growable
   * node the last block counts as a whole one.
   *
   * @returns `bytes: 0` at and beyond the end
   */
  blockStatus(offset: number, bytes: number): Promise<BlockStatus>
  /** Reads from the VM state area; `offset` counts from its start. @throws BlockError ENOTSUP */
  readVmState(offset: number, into: Bytes): Promise<void>
  /** Writes to the VM state area; `offset` counts from its start. @throws BlockError ENOTSUP, EPERM */
  writeVmState(offset: number, from: Bytes): Promise<void>
  /**
   * Tells `observer` of every change that is made through this node and begins from now on: requests of its users
   * and of the nodes above, and operations on the whole node. Not of what changes below it (a backing file that is
   * written, or exchanged), nor of the VM state, which is no part of the disk.
   *
   * A point in time has no change in flight: `await node.withoutWrites(async () => node.observe(observer))`.
   * While an observer of the node has a `before`, changes that overlap run one after another.
   *
   * @returns ends the observation; from then on nothing is told
   * @throws BlockError EINVAL for something that is no observer
   */
  observe(observer: ChangeObserver): () => void

  // ---- whole-node operations ----

  /**
   * Checks the image's structure, and repairs it according to `repair`; without it, or with `false`, changes
   * nothing. Progress is in tables. A repair that is cancelled leaves the image as a crash would that loses nothing:
   * with some of the repairs, and marked dirty if it was.
   *
   * @param control that of the job which this is part of
   * @throws BlockError EINVAL for an unknown mode of repair or an unknown option; ENOTSUP
   */
  check(options?: NodeCheckOptions, control?: JobControl): Promise<CheckReport>
  /** Facts of the image, as its driver knows them. */
  info(): Promise<NodeInfo>
  /** The internal snapshots, in the order of the image's table; none if the format does not support them. */
  listSnapshots(): Promise<readonly SnapshotInfo[]>
  /** Drops everything this layer holds, so that the backing file shows through. @throws BlockError ENOTSUP */
  makeEmpty(): Promise<void>
  /** Rewrites the name and format of the backing file in the header. @throws BlockError ENOTSUP */
  changeBackingFile(filename: string | null, format: string | undefined): Promise<void>
  /**
   * Changes creation options of the image, keys as in `qemu-img amend -o`. If it is cancelled, options that were not
   * changed yet keep their values; the content of the disk is the same.
   *
   * @param control that of the job which this is part of
   * @throws BlockError ENOTSUP, EINVAL
   */
  amend(options: Readonly<Record<string, unknown>>, control?: AmendControl): Promise<void>
  /**
   * Makes the image file shorter, in place: what lies at its end moves into free clusters nearer its start. Requests of
   * the disk run between the pieces. The content stays the same, also if it is cancelled, fails, or loses power: then
   * the part that was done is kept, and space may be leaked. Progress is in bytes of the file.
   *
   * @param options a signal and a callback, or the control of a job
   * @throws BlockError EINVAL for wrong options; ENOTSUP if the format cannot; EPERM when read-only; EIO for an image
   *   that has to be repaired first; the error of the file; the reason of the signal
   */
  compact(options?: PieceOptions): Promise<CompactReport>

  // ---- life cycle ----

  /** Resolves when no request is in flight. New ones may come meanwhile. */
  drain(): Promise<void>
  /** Runs `body` with no request in flight, and holds new ones back until it has ended. */
  drained<T>(body: () => Promise<T>): Promise<T>
  /** Runs `body` with no write in flight: new writes, discards and resizes wait until it has ended. */
  withoutWrites<T>(body: () => Promise<T>): Promise<T>
  /**
   * Drains, lets the driver shut down cleanly, and releases the children. Later calls have the same result as
   * the first, including its error: data that could not be written stays lost.
   *
   * @throws BlockError EBUSY while other nodes use this one; errors of the driver's shutdown
   */
  close(): Promise<void>
  /**
   * Does to this node what the death of the process would do: requests in flight are rejected, caches
   * dropped, nothing is flushed or closed cleanly. From the moment of the call on, nothing more is written.
   * Resolves when the resources of the host are released and the image may be opened again.
   */
  crash(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>

  /** The title that messages use: the file, else the node name, else the driver and what it is stored in. */
  toString(): string
  /** For `JSON.stringify`: the facts of the node, not its internals. */
  toJSON(): NodeFacts
}

/** An edge of the graph: that one node uses another. */
export interface BlockEdge {
  /** The name of the child among those of the node above: that of the option which describes it. */
  readonly role: string
  /** What the driver above does with it. */
  readonly kind: ChildKind
  /** Name of the node above, for messages. */
  readonly parent: string
  /** The node below. */
  readonly node: BlockNode
  /** What {@link node} says of itself. */
  readonly size: number
  readonly limits: BlockLimits
  readonly readOnly: boolean
  readonly filename: string
}

/** A node as the driver above it sees it. */
export interface NodeBelow extends BlockNode {
  /** What its own driver made of it: to see what that can. Requests go through the {@link BlockChild}. */
  readonly ops: NodeOps
}

/** How a driver reaches a child. After a crash of the parent every request is refused. Offsets and lengths are bytes. */
export interface BlockChild extends BlockEdge {
  readonly node: NodeBelow

  /** Reads zeroes beyond the end of the node, whatever its driver: images may end within a cluster. */
  read(offset: number, into: Uint8Array): Promise<void>
  write(offset: number, from: Uint8Array, flags?: WriteFlags): Promise<void>
  writeCompressed(offset: number, from: Uint8Array): Promise<void>
  writeZeroes(offset: number, bytes: number, flags?: WriteFlags): Promise<void>
  discard(offset: number, bytes: number): Promise<void>
  flush(): Promise<void>
  copyRange(offset: number, bytes: number, source: BlockNode, sourceOffset: number): Promise<void>
  truncate(size: number, options?: TruncateOptions): Promise<void>
  blockStatus(offset: number, bytes: number): Promise<BlockStatus>
  /** Announces a step to a debugging driver below; undefined (nothing to await) if there is none. */
  debugEvent(event: DebugEvent): void | Promise<void>
}
