/**
 * What a driver is: types only. A driver is one plain object made with {@link defineDriver}; for every open
 * node it returns a {@link NodeOps} object. Users call {@link BlockNode}; driver authors implement these
 * types.
 */

import type { UrlLike } from '../base/platform-types.ts'
import type { BlockChild } from '../graph/child.ts'
import type { BlockNode } from '../graph/node.ts'
import type { OptionTable, OptionValues, RawOptions } from '../text/options.ts'
import type { DebugEvent } from './debug-events.ts'

/**
 * A protocol gives access to bytes outside the graph (a file, a server) and has no children; a format
 * presents a disk from the bytes of its `file` child; a filter shows the content of its one child.
 */
export type DriverKind = 'protocol' | 'format' | 'filter'

/**
 * What a child is for. It is also the name of the option that describes the child (QEMU's spelling).
 * `file`: the bytes below a format or filter. `backing`: shows through where the image holds nothing.
 * `data-file`: a qcow2 image's external data. `image`: the child of blkdebug and blkverify.
 */
export type ChildRole = 'file' | 'backing' | 'data-file' | 'image' | 'test' | 'log'

/** Modifiers of a write, a zero write or a compressed write. */
export interface WriteFlags {
  /** The data must be on stable storage when the promise resolves (force unit access). */
  readonly fua?: boolean
  /** `writeZeroes` only: the driver may deallocate instead of writing. */
  readonly mayUnmap?: boolean
  /** `writeZeroes` only: fail with ENOTSUP rather than write zero bytes. */
  readonly noFallback?: boolean
}

/** The flags that a driver may declare it handles itself. */
export type WriteFlag = keyof WriteFlags

/** What a driver requires of requests; the core guarantees it. All in bytes. */
export interface BlockLimits {
  /** Every offset and length a driver sees is a multiple of this (a power of two). Default 1. */
  readonly requestAlignment: number
  /** Longest read or write passed to the driver; longer ones are split. Default: no limit. */
  readonly maxTransfer: number
  /** Zero writes are cut at multiples of this; unaligned ends are sent separately. Default 1. */
  readonly writeZeroesAlignment: number
  /** Longest zero write passed to the driver. Default: no limit. */
  readonly maxWriteZeroes: number
  /** Discards are cut at multiples of this; unaligned ends are sent separately. Default 1. */
  readonly discardAlignment: number
  /** Longest discard passed to the driver. Default: no limit. */
  readonly maxDiscard: number
}

/**
 * The state of a run of bytes: the table of spec `BDRV_BLOCK_*` (include/block/block-common.h).
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
  readonly host?: { readonly child: BlockChild; readonly offset: number }
  /** The status of the child at `host` applies instead of this one (filters and raw). */
  readonly forward?: boolean
  /** The child at `host` may have holes in this data; its status says where. */
  readonly recurse?: boolean
}

/** How much of a grown area is allocated, and whether it is filled. */
export type Preallocation = 'off' | 'metadata' | 'falloc' | 'full'

/** Modifiers of `truncate`. */
export interface TruncateOptions {
  readonly preallocation?: Preallocation
  /** The node must end up exactly this large; without it, a node that cannot shrink may stay larger. */
  readonly exact?: boolean
  /** The grown area must read as zeroes even if a backing file has data there. */
  readonly zero?: boolean
}

/** What `check` repairs. */
export type RepairMode = 'leaks' | 'all'

/** What a consistency check found and did; names and meaning as in QEMU's `ImageCheck`. */
export interface CheckReport {
  /** Inconsistencies that endanger data, left after repair. */
  corruptions: number
  /** Clusters that are allocated but not referenced, left after repair. */
  leaks: number
  corruptionsFixed: number
  leaksFixed: number
  /** Structures that could not be checked at all. */
  checkErrors: number
  /** Where the last used cluster of the image file ends, in bytes. */
  imageEndOffset?: number
  /** Guest clusters: all, and how many of them are allocated, fragmented and compressed. */
  totalClusters?: number
  allocatedClusters?: number
  fragmentedClusters?: number
  compressedClusters?: number
}

/** How a check runs. */
export interface CheckOptions {
  readonly repair?: RepairMode
  /** Receives each finding as it is made: one line, without its newline (QEMU prints them to stderr). */
  readonly report?: (line: string) => void
  /**
   * Receives the reason why a check cannot complete: one or more lines, which programs prefix with their
   * name. Default: `report`.
   */
  readonly reportFailure?: (text: string) => void
}

/** Facts for `info`: plain data, keys as `qemu-img info --output=json` spells them. */
export interface NodeInfo {
  /** Bytes. */
  readonly clusterSize?: number
  /** Guest offset where the VM state area begins, in bytes. */
  readonly vmStateOffset?: number
  /** The image needs a repair before it can be written (qcow2's dirty bit, QED's need-check bit). */
  readonly dirty?: boolean
  readonly encrypted?: boolean
  readonly compressed?: boolean
  /** The backing file according to the header; another one may be open. */
  readonly backingFilename?: string
  readonly backingFormat?: string
  /** Bytes that the file occupies in its file system; 0 for a device. */
  readonly actualSize?: number
  /** Facts that only this format has. */
  readonly formatSpecific?: { readonly type: string; readonly data: Readonly<Record<string, unknown>> }
}

/** An internal snapshot, as `info` lists it (qapi/block-core.json, SnapshotInfo). */
export interface SnapshotInfo {
  /** For display: long ids may be truncated, and invalid UTF-8 is replaced. */
  readonly id: string
  readonly name: string
  /** Bytes of machine state. */
  readonly vmStateSize: bigint
  /** Time of creation: seconds since 1970, and nanoseconds. */
  readonly dateSec: number
  readonly dateNsec: number
  /** How long the machine had run, in nanoseconds. */
  readonly vmClockNsec: bigint
  /** How many instructions the machine had executed, if it counts them. */
  readonly icount?: bigint
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

/** What the users of a node do with it, and what others may do with it meanwhile: bits of `PERMISSION`. */
export interface Permissions {
  readonly taken: number
  readonly shared: number
}

/** The second half of a permission change. Exactly one of the two methods is called. */
export interface PreparedPermissions {
  commit(): void
  abort(): void
}

/** The second half of a reopen. Exactly one of the two methods is called. */
export interface PreparedReopen {
  commit(): void | Promise<void>
  abort(): void | Promise<void>
}

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
   * (`file:DEVICE:INODE`). Two nodes of one identity never write at the same time (access.ts). Absent: no
   * other node can reach the content.
   */
  readonly place?: string | undefined
  /** The user of this node takes responsibility for other writers of the same file (`locking=off`). */
  readonly sharesPlace?: boolean
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

  check?(options: CheckOptions): Promise<CheckReport>
  info?(): Promise<NodeInfo>
  /** The internal snapshots, in the order of the image's snapshot table. */
  listSnapshots?(): Promise<readonly SnapshotInfo[]>
  /** Drops everything this layer holds, so that the backing file shows through everywhere. */
  makeEmpty?(): Promise<void>
  /** Rewrites the name and format of the backing file in the header; null: no backing file. */
  changeBackingFile?(filename: string | null, format: string | undefined): Promise<void>
  /** Changes creation options of an existing image. Keys and texts as in `qemu-img amend -o`. */
  amend?(
    options: Readonly<Record<string, unknown>>,
    progress?: (done: number, total: number) => void,
  ): Promise<void>

  /** Filters only: a driver above announces a step. May suspend it (breakpoints) or arm a fault. */
  debugEvent?(event: DebugEvent): void | Promise<void>
  /** Breakpoints, for drivers that have them (blkdebug). */
  readonly breakpoints?: Breakpoints

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

/** A child as an image names it: strings from a header, never yet opened. */
export interface ChildReference {
  readonly filename: string
  /** Format the image claims for it; undefined means "probe", which an {@link OpenHost} may refuse. */
  readonly driver?: string | undefined
}

/** The input of `open`. */
export interface OpenContext<O> {
  readonly nodeName: string
  /** The file name the node is opened from, for messages; empty if there is none. */
  readonly filename: string
  readonly readOnly: boolean
  /** Opened only to be checked: no repair, nothing written, broken structures tolerated (QEMU's BDRV_O_CHECK). */
  readonly checkMode: boolean
  /** Opened only to be described: only `info` is called, and needs no key (QEMU's BDRV_O_NO_IO). */
  readonly noIo: boolean
  /** `discard=unmap` was given: discards and unmapping zero writes may reach the file. */
  readonly unmap: boolean
  /** `cache.direct=on` was given: a protocol bypasses the host's page cache (O_DIRECT). */
  readonly direct: boolean
  /** `force-share=on`: tolerate other writers of the same file. Only with `readOnly`. */
  readonly forceShare: boolean
  /** The driver was guessed from the content. Raw then refuses writes that would change the guess. */
  readonly probed: boolean
  readonly options: O
  /**
   * If raw was guessed: the name of the format that a file with this beginning and end (as for
   * {@link FormatProbe}, `tail` from {@link tailStart} on) would be taken for instead, if any.
   */
  otherFormat(head: Uint8Array, tail: Uint8Array): string | undefined
  /**
   * Opens the child for a role, or uses a node that is already open. The user's option of that name wins;
   * else `implicit`, a name found in the image, which the {@link OpenHost} resolves or refuses.
   *
   * @returns undefined if neither is given, or the user gave `null`.
   */
  child(role: ChildRole, implicit?: ChildReference): Promise<BlockChild | undefined>
  /** Like {@link child}, for a role that the driver requires. @throws BlockError EINVAL */
  requireChild(role: ChildRole): Promise<BlockChild>
  /** Emits events of the node. Usable from `open` on; events are kept until the node exists. */
  readonly events: DriverEvents
}

/** Events that a driver emits to users of its node. */
export interface DriverEvents {
  /** The image contradicts itself. Reported once per node, and again if `fatal` (the node stops working). */
  corrupt(event: CorruptEvent): void
  /** A repair ran while opening or reopening. */
  repair(report: CheckReport): void
  /** A warning: one line, as QEMU prints to stderr. */
  warn(line: string): void
}

/** QEMU's BLOCK_IMAGE_CORRUPTED. */
export interface CorruptEvent {
  readonly message: string
  /** Host offset and size in bytes of the broken structure, if known. */
  readonly offset?: number
  readonly size?: number
  readonly fatal: boolean
}

/** The input of `create`. */
export interface CreateContext<C> {
  /** An open node to be formatted, growable unless it is a device. */
  readonly file: BlockNode
  /** An open node for the data, if the options ask for an external data file. */
  readonly dataFile?: BlockNode | undefined
  /** The creation options, parsed. */
  readonly options: C
}

/** Recognizes a format: part of its driver. */
export interface FormatProbe {
  readonly name: string
  /** 0 (not mine) to 100 (certain), from the first 512 bytes, padded with zeroes if the file is shorter. */
  probe?(head: Uint8Array, filename: string): number
  /**
   * The same from the end of the file, for formats with a trailer. `tail` begins at a sector boundary, holds
   * at least the last 1023 bytes (or the whole file, if shorter), and ends where the file does. Called only
   * if no driver recognizes the beginning of the file better than raw.
   */
  probeTail?(tail: Uint8Array, filename: string): number
}

/** A driver: one constant object, readable from top to bottom. */
export interface BlockDriver<O extends OptionTable = OptionTable, C extends OptionTable = OptionTable>
  extends FormatProbe {
  readonly kind: DriverKind
  /** Formats: keeps nothing of the file in memory, so that others may write to it meanwhile (raw). */
  readonly sharesFile?: boolean
  /** Formats that share their file: whether the options restrict the node to a fixed part of it (raw). */
  isWindow?(options: RawOptions): boolean
  /** Filters: also writes data to the child that the child already shows (copy-on-read). */
  readonly writesUnchanged?: boolean
  /** Runtime options beside the common ones and the children. */
  readonly options?: O
  /** Keys (camelCase) of `options` that a reopen may change; changing another is an error. Default: none. */
  readonly mutableOptions?: readonly string[]
  /**
   * Returns the earlier options that a reopen with new options keeps, for options that exclude each other.
   * Trees as users write them, keys in QEMU's spelling. Default: all that are not given again.
   */
  keepOptions?(before: RawOptions, given: RawOptions): RawOptions
  /** Children that the user may give. Default: none for a protocol, `file` for the other kinds. */
  readonly children?: readonly ChildRole[]
  /** Options of `create`, in the order QEMU prints them. */
  readonly createOptions?: C
  /** Protocols: options of {@link createPlace}; `qemu-img create -o` adds them to those of the format. */
  readonly placeOptions?: OptionTable
  /** Images of this format can be written compressed ({@link NodeOps.writeCompressed}). */
  readonly canCompress?: boolean
  /** Options of {@link NodeOps.amend}, in the order QEMU prints them. */
  readonly amendOptions?: OptionTable
  /** Prefixes of file names (`null-co` for `null-co://`) that name this driver. */
  readonly prefixes?: readonly string[]
  /**
   * Protocols for devices: whether the path is a device of this driver on the host system, whatever the name
   * looks like. Synchronous. Devices already exist: they are neither created nor removed.
   */
  recognises?(path: string): boolean
  /** Protocols: the option `filename` is a path on the host system, which may contain colons. */
  readonly takesPaths?: boolean
  /**
   * For the driver `file`: the path of a `file:` URL; undefined for URLs of other protocols.
   *
   * @throws BlockError EINVAL
   */
  pathOfUrl?(url: UrlLike): string | undefined
  /** Turns a file name that has one of the prefixes (and still begins with it) into options. */
  parseFilename?(filename: string): Record<string, unknown>
  /**
   * The inverse of {@link parseFilename}: the file name that stands for the options of a node. `child` is the
   * name of the node's one child, empty if that name would be `json:{...}`.
   *
   * @returns undefined if no name expresses the options
   */
  nameFromOptions?(options: RawOptions, child: string | undefined): string | undefined
  /**
   * The displayable form of an option's text or of a file name: addresses may contain a password. Default:
   * unchanged.
   */
  shown?(text: string): string
  open(context: OpenContext<OptionValues<O>>): Promise<NodeOps>
  /** Formats an open file. */
  create?(context: CreateContext<OptionValues<C>>): Promise<void>
  /**
   * Checks those options of {@link create} that do not depend on the file, before a file is made or emptied.
   *
   * @throws BlockError what `create` would throw for them
   */
  checkCreate?(options: OptionValues<C>): Promise<void>
  /**
   * Protocols: makes (or empties) the file that `options` name, `size` bytes large; `placeOptions` are
   * parsed. If it fails, no new file is left behind.
   *
   * @returns the means to remove a new file; undefined if the file existed before
   */
  createPlace?(
    options: OptionValues<O>,
    size: number,
    preallocation: Preallocation,
    placeOptions?: Readonly<Record<string, unknown>>,
  ): Promise<CreatedPlace | undefined>
}

/** A file that was newly made. */
export interface CreatedPlace {
  /**
   * Removes the file, and everything else that was made for it. It must be closed.
   *
   * @throws BlockError EBUSY while it is open
   */
  remove(): Promise<void>
}

/** A driver with any options, as a registry holds it. */
export type AnyDriver = BlockDriver<OptionTable, OptionTable>

/** Infers a driver's type from its option tables; returns the driver unchanged. */
export const defineDriver = <O extends OptionTable, C extends OptionTable>(
  driver: BlockDriver<O, C>,
): BlockDriver<O, C> => driver
