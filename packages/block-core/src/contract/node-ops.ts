/**
 * What a driver implements for one open node, and how the core calls it.
 */
import type { BitmapOps } from './bitmaps.ts'
import type { DebugEvent } from './debug-events.ts'
import type { AmendControl, JobControl, PieceOptions, RunAlone } from './job-control.ts'
import type { BlockChild, BlockNode, BlockStatus } from './node.ts'
import type { Permissions, PreparedPermissions } from './permissions.ts'
import type { CheckOptions, CheckReport, CompactReport, NodeInfo, SnapshotInfo } from './reports.ts'
import type { BlockLimits, TruncateOptions, WriteFlag, WriteFlags } from './requests.ts'
import type { SnapshotChoice, SnapshotSettings } from './snapshots.ts'

/**
 * What a driver implements for one open node.
 *
 * The core guarantees: requests are inside the node (unless `growable`), aligned to `limits`, not longer
 * than its maxima, never empty, never issued before `open` resolved or after `close` was called; writes
 * never reach a read-only node. An absent optional method is an absent capability: the core falls back or
 * reports ENOTSUP. Drivers check none of this again. All offsets and lengths are bytes.
 */
export interface NodeOps {
  /**
   * Protocols: the identity of the file or device behind the node, the same for all its names
   * (`file:DEVICE:INODE`). Two nodes of one identity never write at the same time. Absent: no other node can
   * reach the content.
   */
  readonly identity?: string | undefined
  /** The user of this node takes responsibility for other writers of the same file (`locking=off`). */
  readonly sharesIdentity?: boolean
  readonly limits?: Partial<BlockLimits>
  /** Flags that `write` handles itself; the core emulates the others (FUA by a flush). */
  readonly writeFlags?: ReadonlySet<WriteFlag>
  /** Flags that `writeZeroes` handles itself. `mayUnmap` is dropped if it is not among them. */
  readonly zeroFlags?: ReadonlySet<WriteFlag>
  /** Writes may extend the node (files do, formatted disks do not), and reads past the end give zeroes. */
  readonly growable?: boolean

  /** Current size in bytes. Must be cheap: every request calls it. */
  size(): number
  /** Fills all of `into`. */
  read(offset: number, into: Uint8Array): Promise<void>
  /** The caller does not change `from` until the promise settles. */
  write?(offset: number, from: Uint8Array, flags: WriteFlags): Promise<void>
  writeCompressed?(offset: number, from: Uint8Array): Promise<void>
  writeZeroes?(offset: number, bytes: number, flags: WriteFlags): Promise<void>
  /** Gives up the content of a range. What the range reads as afterwards is up to the driver. */
  readonly discard?: ((offset: number, bytes: number) => Promise<void>) | undefined
  blockStatus?(offset: number, bytes: number): Promise<BlockStatus>
  /**
   * Copies `bytes` bytes from `sourceOffset` of another node to `offset` of this one without passing them
   * through this process: `copy_file_range`. Protocols copy between nodes of their own driver; formats and
   * filters pass on what they would write in place. `source` is always a protocol node other than this one,
   * and the core keeps it open meanwhile. A hole in the source may become zeroes that take space here.
   *
   * @throws BlockError ENOTSUP if these two nodes do not support it: the range must be copied another way
   */
  readonly copyRange?:
    | ((offset: number, bytes: number, source: BlockNode, sourceOffset: number) => Promise<void>)
    | undefined
  truncate?(size: number, options: TruncateOptions): Promise<void>
  /** Makes everything written so far durable: the driver's own caches, then its children. */
  flush?(): Promise<void>

  /** The area behind the guest's disk where QEMU keeps machine state; offsets count from its start. */
  readVmState?(offset: number, into: Uint8Array): Promise<void>
  writeVmState?(offset: number, from: Uint8Array): Promise<void>

  /** Calls `control.checkpoint` between tables, where a repair may stop for good; so does `amend`. */
  check?(options: CheckOptions, control: JobControl): Promise<CheckReport>
  info?(): Promise<NodeInfo>
  /** The internal snapshots, in the order of the image's snapshot table. */
  listSnapshots?(): Promise<readonly SnapshotInfo[]>
  /** Makes, applies, deletes and opens them. Loads the code for that. @throws BlockError EIO if it cannot be loaded */
  snapshots?(): Promise<SnapshotOps>
  /**
   * The dirty bitmaps that the image keeps. Loads the code for them.
   *
   * @throws BlockError EIO if the code cannot be loaded
   */
  bitmaps?(): Promise<BitmapOps>
  /** Drops everything this layer holds, so that the backing file shows through everywhere. */
  makeEmpty?(): Promise<void>
  /** Rewrites the name and format of the backing file in the header; null: no backing file. */
  changeBackingFile?(filename: string | null, format: string | undefined): Promise<void>
  /**
   * From now on this is the backing file, and undefined: there is none. Called with no request in flight, and not if
   * only another node stands at the end of the edge that the driver has. Absent: the driver cannot do this.
   */
  setBacking?(backing: BlockChild | undefined): void
  /** Changes creation options of an existing image. Keys and texts as in `qemu-img amend -o`. */
  amend?(options: Readonly<Record<string, unknown>>, control: AmendControl): Promise<void>
  /**
   * Moves what the image file holds towards its start, and cuts off its end. Not called alone: the driver takes the
   * node for each piece with `alone`. When it is stopped at a checkpoint, the content is the same.
   *
   * @param options as the caller gave them: `pieceControl` of `/late` completes them
   */
  compact?(options: PieceOptions, alone: RunAlone): Promise<CompactReport>

  /** Filters only: a driver above announces a step. May suspend it (breakpoints) or arm a fault. */
  debugEvent?(event: DebugEvent): void | Promise<void>
  /** Breakpoints, for drivers that have them (blkdebug). */
  readonly breakpoints?: Breakpoints

  /** Filters only: the content that the disk had when the filter was opened, for the driver `snapshot-access`. */
  readonly snapshotAccess?: SnapshotAccess

  /**
   * Protocols: takes the locks for `taken` and against what is not `shared`; committing releases those that
   * are no longer needed. Called whenever the permissions change, never for a node that has no user yet.
   * Synchronous.
   *
   * @throws BlockError EBUSY if another process is in the way: then everything is as before
   */
  preparePermissions?(wanted: Permissions): PreparedPermissions
  /** First half of a reopen: does all that can fail. Absent: any change of the core's options is accepted. */
  prepareReopen?(request: ReopenRequest): Promise<PreparedReopen>
  /**
   * Sets how long requests wait for a peer that may never answer (a server, a worker): see {@link Patience}.
   * Takes effect at once; may be called at any time, also after `close`. Absent: requests of this driver
   * always end.
   */
  setPatience?(patience: Patience): void
  /** Clean shutdown: metadata written, bits cleared. Not called when the node crashed. */
  close?(): Promise<void>
  /** Process death, for one node: releases host resources, writes nothing, leaves no request waiting. */
  crash?(): void | Promise<void>
}

/**
 * The internal snapshots of one open image. `create`, `apply` and `delete` are all or nothing, also if power fails; the core
 * calls them with no request in flight, on a node that may write.
 */
export interface SnapshotOps {
  /**
   * Keeps the content of the disk. An image may have several snapshots of one name.
   *
   * @throws BlockError ENOTSUP if this image cannot have snapshots; EFBIG if there are too many; EINVAL if refcounts are too
   *   narrow; ENOSPC, and errors of the file
   */
  create(settings: SnapshotSettings): Promise<SnapshotInfo>
  /**
   * Gives the disk the content, the size and the machine state that it had; what it holds now is lost.
   *
   * @throws BlockError ENOENT; EINVAL, EFBIG if the snapshot is broken; ENOTSUP; ENOSPC, and errors of the file
   */
  apply(choice: SnapshotChoice): Promise<void>
  /**
   * Forgets a snapshot, and frees what only it needed.
   *
   * @throws BlockError ENOENT; EBUSY while it is open; EINVAL, EFBIG if it is broken; errors of the file
   */
  delete(choice: SnapshotChoice): Promise<void>
  /**
   * The operations of a read-only node that shows the snapshot, while the image is used on. The core ends its requests before
   * the image is changed as a whole.
   *
   * @param backing shows through where the snapshot holds nothing
   * @throws BlockError ENOENT; EINVAL, EFBIG if it is broken; ENOTSUP; errors of the file
   */
  open(choice: SnapshotChoice, backing: BlockChild | undefined): Promise<NodeOps>
}

/** A disk as it was at a point in time, while it is used on. Offsets and lengths in bytes. */
export interface SnapshotAccess {
  /** Bytes of the disk then. */
  readonly size: number
  /** @throws BlockError EACCES for what is not kept, or not any more; errors of the disks */
  read(offset: number, into: Uint8Array): Promise<void>
  /** @throws BlockError EACCES, as {@link read} */
  blockStatus(offset: number, bytes: number): Promise<BlockStatus>
  /** Gives up a range: it is kept no longer, and cannot be read any more. */
  discard(offset: number, bytes: number): Promise<void>
}

/** What a reopen changes in a node; absent fields stay as they are. */
export interface ReopenRequest {
  readonly readOnly: boolean
  /** `cache.direct` from now on. */
  readonly direct?: boolean
  /** `discard=unmap` from now on. */
  readonly unmap?: boolean
  /** All options of the driver, old and new, parsed. */
  readonly options: Readonly<Record<string, unknown>>
}

/** The second half of a reopen. Exactly one of the two methods is called. */
export interface PreparedReopen {
  commit(): void | Promise<void>
  abort(): void | Promise<void>
}

/**
 * How long requests may wait for a peer. `usual`: as the options say. `limited`: the node is being closed;
 * requests are not retried, and all of them together end within the time limit of one. `none`: the results of
 * reads are no longer needed, and reads end at once.
 */
export type Patience = 'usual' | 'limited' | 'none'

/** Control over suspended requests, as qemu-io's `break`, `wait_break`, `resume` and `remove_break` need it. */
export interface Breakpoints {
  /** @throws BlockError ENOENT for an unknown event. */
  set(event: string, tag: string): void
  /**
   * Resumes the requests suspended under `tag`, and removes the breakpoints of that name.
   *
   * @throws BlockError ENOENT if no breakpoint was left to remove, even if requests were resumed
   */
  remove(tag: string): void
  /** Resumes one suspended request. @throws BlockError ENOENT when none is suspended under `tag`. */
  resume(tag: string): void
  isSuspended(tag: string): boolean
  /** Resolves once a request is suspended under `tag`. */
  wait(tag: string): Promise<void>
}
