/**
 * What a driver is: types only. A driver is one plain object made with {@link defineDriver}; for every open
 * node it gives a {@link NodeOps} object. What users call is {@link BlockNode}; what driver authors write is here.
 */
import type { BlockChild } from './child.ts'
import type { DebugEvent } from './debug-events.ts'
import type { BlockNode } from './node.ts'
import type { OptionTable, OptionValues, RawOptions } from './options.ts'
import type { UrlLike } from './platform-types.ts'

/**
 * A protocol turns a place into bytes and has no children; a format gives a disk from the bytes of its
 * `file` child; a filter shows what its one child shows.
 */
export type DriverKind = 'protocol' | 'format' | 'filter'

/**
 * What a child is for. It is also the name of the option that describes the child (QEMU's spelling).
 * `file`: the bytes below a format or filter. `backing`: what shows through where the image holds nothing.
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

/** The flags a driver may say it handles itself. */
export type WriteFlag = keyof WriteFlags

/** What a node asks of requests, and the core guarantees. All in bytes. */
export interface BlockLimits {
  /** Every offset and length a driver sees is a multiple of this (a power of two). Default 1. */
  readonly requestAlignment: number
  /** Longest read or write a driver is given; longer ones are split. Default: no limit. */
  readonly maxTransfer: number
  /** Zero writes are cut at multiples of this; what is left at the ends is sent on its own. Default 1. */
  readonly writeZeroesAlignment: number
  /** Longest zero write a driver is given. Default: no limit. */
  readonly maxWriteZeroes: number
  /** Discards are shrunk to multiples of this. Default 1. */
  readonly discardAlignment: number
  /** Longest discard a driver is given. Default: no limit. */
  readonly maxDiscard: number
}

/**
 * The state of a run of bytes: the table of spec `BDRV_BLOCK_*` (include/block/block-common.h).
 *
 * | data | zero | host | meaning |
 * |------|------|------|---------|
 * | yes  | no   | yes  | data at that place |
 * | yes  | no   | no   | data, not readable in place (compressed) |
 * | yes  | yes  |      | allocated, reads as zeroes |
 * | no   | yes  | yes  | preallocated, reads as zeroes |
 * | no   | yes  | no   | reads as zeroes |
 * | no   | no   | yes  | preallocated, reads from the backing file |
 * | no   | no   | no   | unallocated, reads from the backing file |
 */
export interface BlockStatus {
  /** Length in bytes, from the asked offset, that shares this status. At least 1. */
  readonly bytes: number
  /** This layer decides the content; if not, a backing file does. */
  readonly allocated: boolean
  readonly data: boolean
  readonly zero: boolean
  readonly compressed?: boolean
  /** Where the raw bytes are, when they can be read directly; `offset` in bytes of that child. */
  readonly host?: { readonly child: BlockChild; readonly offset: number }
  /** The child at `host` knows better: ask it instead (filters and raw). */
  readonly forward?: boolean
  /** The child at `host` may have holes in this data: look there for zeroes. */
  readonly recurse?: boolean
}

/** How much of a grown area is allocated, and with what. */
export type Preallocation = 'off' | 'metadata' | 'falloc' | 'full'

/** Modifiers of `truncate`. */
export interface TruncateOptions {
  readonly preallocation?: Preallocation
  /** The node must end up exactly this large; without it a driver that can only be larger may succeed. */
  readonly exact?: boolean
  /** The grown area must read as zeroes even where a backing file has data. */
  readonly zero?: boolean
}

/** What `check` shall repair. */
export type RepairMode = 'leaks' | 'all'

/** What a consistency check found and did; names and meaning as in QEMU's `ImageCheck`. */
export interface CheckReport {
  /** Inconsistencies that endanger data, left after repair. */
  corruptions: number
  /** Clusters that are allocated and referenced by nothing, left after repair. */
  leaks: number
  corruptionsFixed: number
  leaksFixed: number
  /** Things that could not be checked at all. */
  checkErrors: number
  /** Bytes: where the last used cluster of the image file ends. */
  imageEndOffset?: number
  /** Guest clusters in all, and of them allocated, fragmented and compressed. */
  totalClusters?: number
  allocatedClusters?: number
  fragmentedClusters?: number
  compressedClusters?: number
}

/** How a check runs. */
export interface CheckOptions {
  readonly repair?: RepairMode
  /** Takes the findings, one line each without its newline, as they are made (QEMU prints them to stderr). */
  readonly report?: (line: string) => void
  /** Takes why a check cannot be completed, in one line or more, which programs begin with their name. Default: `report`. */
  readonly reportFailure?: (text: string) => void
}

/** Facts for `info`: plain data, keys as `qemu-img info --output=json` spells them. */
export interface NodeInfo {
  /** Bytes. */
  readonly clusterSize?: number
  /** Bytes: where the VM state area begins, in guest offsets. */
  readonly vmStateOffset?: number
  /** The image needs a repair before it can be written (qcow2's dirty bit, QED's need-check bit). */
  readonly dirty?: boolean
  readonly encrypted?: boolean
  readonly compressed?: boolean
  /** What the header says of the backing file, which need not be what is open. */
  readonly backingFilename?: string
  readonly backingFormat?: string
  /** Bytes that the file takes on its host; 0 of a device, which takes none of a file system. */
  readonly actualSize?: number
  /** Facts only this format has. */
  readonly formatSpecific?: { readonly type: string; readonly data: Readonly<Record<string, unknown>> }
}

/** An internal snapshot, as `info` lists it (qapi/block-core.json, SnapshotInfo). */
export interface SnapshotInfo {
  /** For people: long ones may be cut short, and what is no UTF-8 is replaced. */
  readonly id: string
  readonly name: string
  /** Bytes of machine state. */
  readonly vmStateSize: bigint
  /** When it was made: seconds since 1970, and nanoseconds. */
  readonly dateSec: number
  readonly dateNsec: number
  /** Nanoseconds that the machine had run. */
  readonly vmClockNsec: bigint
  /** Instructions that the machine had executed, where it counts them. */
  readonly icount?: bigint
}

/** What changes in a node by a reopen; fields that are absent stay. */
export interface ReopenRequest {
  readonly readOnly: boolean
  /** `cache.direct` from now on. */
  readonly direct?: boolean
  /** `discard=unmap` from now on. */
  readonly unmap?: boolean
  /** All options of the driver, old and new, parsed. */
  readonly options: Readonly<Record<string, unknown>>
}

/** What is done with a node, and what others may do with it meanwhile: bits of `PERMISSION`. */
export interface Permissions {
  readonly taken: number
  readonly shared: number
}

/** The second half of a change of permissions. Exactly one of the two is called. */
export interface PreparedPermissions {
  commit(): void
  abort(): void
}

/** The second half of a reopen. Exactly one of the two is called. */
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
   * Protocols: what of the world the node stands for, the same for every name of it (`file:DEVICE:INODE`). Nodes
   * of one place are kept from writing at the same time (access.ts). Absent: nobody else can get there.
   */
  readonly place?: string | undefined
  /** The user of this node answers for others that write to its place (`locking=off`). */
  readonly sharesPlace?: boolean
  readonly limits?: Partial<BlockLimits>
  /** Flags that `write` handles itself; the core emulates the others (FUA by a flush). */
  readonly writeFlags?: ReadonlySet<WriteFlag>
  /** Flags that `writeZeroes` handles itself. `mayUnmap` is dropped where it is not among them. */
  readonly zeroFlags?: ReadonlySet<WriteFlag>
  /** Writes may extend the node (files do, formatted disks do not), and reads past the end give zeroes. */
  readonly growable?: boolean

  /** Current size in bytes. Cheap: asked on every request. */
  size(): number
  /** Fills all of `into`. */
  read(offset: number, into: Uint8Array): Promise<void>
  /** `from` stays untouched by the caller until the promise settles. */
  write?(offset: number, from: Uint8Array, flags: WriteFlags): Promise<void>
  writeCompressed?(offset: number, from: Uint8Array): Promise<void>
  writeZeroes?(offset: number, bytes: number, flags: WriteFlags): Promise<void>
  /** Gives up the content of a range. What it reads as afterwards is up to the driver. */
  readonly discard?: ((offset: number, bytes: number) => Promise<void>) | undefined
  blockStatus?(offset: number, bytes: number): Promise<BlockStatus>
  /**
   * Copies `bytes` bytes from `sourceOffset` of another node to `offset` of this one without their passing through
   * this process: `copy_file_range`. Protocols copy between nodes of their own driver; formats and filters
   * hand on what they would write in place. `source` is the node that the core has made ready to be read, a
   * protocol's, and never this one. What is a hole there may be zeroes that take space here.
   *
   * @throws BlockError ENOTSUP where it cannot be done between these two: the range is to be copied otherwise
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
  /** The internal snapshots, in the order of the table that the format has of them. */
  listSnapshots?(): Promise<readonly SnapshotInfo[]>
  /** Drops everything this layer holds, so that the backing file shows through everywhere. */
  makeEmpty?(): Promise<void>
  /** Rewrites what the header says of the backing file; null: no backing file. */
  changeBackingFile?(filename: string | null, format: string | undefined): Promise<void>
  /** Changes creation options of an existing image. Keys and texts as in `qemu-img amend -o`. */
  amend?(
    options: Readonly<Record<string, unknown>>,
    progress?: (done: number, total: number) => void,
  ): Promise<void>

  /** Filters only: a driver above announced a step. May suspend it (breakpoints) or arm a fault. */
  debugEvent?(event: DebugEvent): void | Promise<void>
  /** Breakpoints, for drivers that have them (blkdebug). */
  readonly breakpoints?: Breakpoints

  /**
   * Protocols: makes sure that no other process keeps from doing this with the place, and keeps others from what
   * is not shared. Called whenever something else is to be done, also with the node of a user; never called for a
   * node that nobody uses yet. At once, without waiting.
   *
   * @throws BlockError EBUSY when somebody else is in the way: then everything is as before
   */
  preparePermissions?(wanted: Permissions): PreparedPermissions
  /** First half of a reopen: does all that can fail. Absent: the driver accepts every change of the core's own options. */
  prepareReopen?(request: ReopenRequest): Promise<PreparedReopen>
  /**
   * How long requests wait for what may never answer (a server, a worker), from now on: see {@link Patience}. At once;
   * may be called at any time, also after `close`. Absent: requests of this driver end by themselves.
   */
  setPatience?(patience: Patience): void
  /** Clean shutdown: metadata written, bits cleared. Not called when the node crashed. */
  close?(): Promise<void>
  /** Process death, for one node: release what the host lent, write nothing, let nothing wait. */
  crash?(): void | Promise<void>
}

/**
 * How long requests may wait for others. `usual`: as the options say. `limited`: the node is being closed, and so requests are
 * not repeated, and all of them together end within the time limit of one. `none`: nobody waits for what is being
 * read, and it ends at once.
 */
export type Patience = 'usual' | 'limited' | 'none'

/** Control over suspended requests, as qemu-io's `break`, `wait_break`, `resume` and `remove_break` need it. */
export interface Breakpoints {
  /** @throws BlockError ENOENT for an unknown event. */
  set(event: string, tag: string): void
  /**
   * Resumes what is suspended under `tag`, and removes the breakpoints of that name.
   *
   * @throws BlockError ENOENT if no breakpoint was left to remove, whatever was resumed
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
  /** Format the image claims for it; undefined means "probe", which a host may refuse. */
  readonly driver?: string | undefined
}

/** What `open` has to work with. */
export interface OpenContext<O> {
  readonly nodeName: string
  /** What the node is opened from, for messages; empty if it has no name. */
  readonly filename: string
  readonly readOnly: boolean
  /** Opened only to be checked: no repair, nothing written, broken structures tolerated (QEMU's BDRV_O_CHECK). */
  readonly checkMode: boolean
  /** Opened only to be described: `info` is all that is asked of it, and needs no key (QEMU's BDRV_O_NO_IO). */
  readonly noIo: boolean
  /** `discard=unmap` was given: discards and unmapping zero writes may reach the file. */
  readonly unmap: boolean
  /** `cache.direct=on` was given: a protocol bypasses the host's page cache (O_DIRECT). */
  readonly direct: boolean
  /** `force-share=on`: do not mind other writers of the same file. Only with `readOnly`. */
  readonly forceShare: boolean
  /** Nobody named the driver: it was guessed from the content. Raw then takes nothing that makes it look otherwise. */
  readonly probed: boolean
  readonly options: O
  /**
   * Where raw was guessed: the name of the format that a file with such a beginning and such an end (as for
   * {@link FormatProbe}, `tail` from {@link tailStart} on) would be taken for instead, if any.
   */
  otherFormat(head: Uint8Array, tail: Uint8Array): string | undefined
  /**
   * Opens, or takes ready-made, the child for a role. What the user gave under the option of that name wins;
   * else `implicit`, a name found in the image, which the host resolves or refuses.
   *
   * @returns undefined when neither is there, or the user gave `null`.
   */
  child(role: ChildRole, implicit?: ChildReference): Promise<BlockChild | undefined>
  /** Like {@link child}, for a role the driver cannot do without. @throws BlockError EINVAL */
  requireChild(role: ChildRole): Promise<BlockChild>
  /** Tells users of the node. Usable from `open` on; before the node exists events are kept for it. */
  readonly events: DriverEvents
}

/** What a driver tells users of its node. */
export interface DriverEvents {
  /** The image contradicts itself. Reported once per node; `fatal` means that the node stops working. */
  corrupt(event: CorruptEvent): void
  /** A repair ran while opening or reopening. */
  repair(report: CheckReport): void
  /** A line for a person, as QEMU prints to stderr. */
  warn(line: string): void
}

/** QEMU's BLOCK_IMAGE_CORRUPTED. */
export interface CorruptEvent {
  readonly message: string
  /** Host offset and size in bytes of what is broken, where it has a place. */
  readonly offset?: number
  readonly size?: number
  readonly fatal: boolean
}

/** What `create` has to work with. */
export interface CreateContext<C> {
  /** An open, empty, growable node to be formatted. */
  readonly file: BlockNode
  /** An open, empty node for the data, where the options ask for an external data file. */
  readonly dataFile?: BlockNode | undefined
  /** The backing file's size in bytes, where one is given and no size is. */
  readonly options: C
}

/** What recognises a format: part of its driver. */
export interface FormatProbe {
  readonly name: string
  /** 0 (not mine) to 100 (certain), from the first 512 bytes; zeroes stand for what a shorter file does not have. */
  probe?(head: Uint8Array, filename: string): number
  /**
   * The same from the end of the file, for formats that have a trailer. `tail` begins at a whole sector, holds the last 1023
   * bytes at least (a shorter file whole), and ends where the file does. Asked where no beginning is better than raw's.
   */
  probeTail?(tail: Uint8Array, filename: string): number
}

/** A driver: one constant object, readable from top to bottom. */
export interface BlockDriver<O extends OptionTable = OptionTable, C extends OptionTable = OptionTable>
  extends FormatProbe {
  readonly kind: DriverKind
  /** Formats: nothing of the file is kept in memory, so that others may write to it meanwhile (raw). */
  readonly sharesFile?: boolean
  /** Formats that share their file: whether options, as users write them, show a fixed part of it alone (raw). */
  isWindow?(options: RawOptions): boolean
  /** Filters: also writes to its child what the child shows already (copy-on-read). */
  readonly writesUnchanged?: boolean
  /** Runtime options beside the common ones and the children. */
  readonly options?: O
  /** Keys (camelCase) of `options` that a reopen may change; changing another is an error. Default: none. */
  readonly mutableOptions?: readonly string[]
  /**
   * What a reopen that gives options keeps of those that were given before, where some of them exclude each
   * other. Trees as users write them, keys in QEMU's spelling. Default: everything that is not given anew.
   */
  keepOptions?(before: RawOptions, given: RawOptions): RawOptions
  /** Children that the user may give. Default: none for a protocol, `file` for the others. */
  readonly children?: readonly ChildRole[]
  /** Options of `create`, in the order QEMU prints them. */
  readonly createOptions?: C
  /** Protocols: options of {@link createPlace}, which `qemu-img create -o` takes beside those of the format. */
  readonly placeOptions?: OptionTable
  /** Images of this format can be written compressed ({@link NodeOps.writeCompressed}). */
  readonly canCompress?: boolean
  /** Options of {@link NodeOps.amend}, in the order QEMU prints them. */
  readonly amendOptions?: OptionTable
  /** Prefixes of file names (`null-co` for `null-co://`) that name this driver. */
  readonly prefixes?: readonly string[]
  /**
   * Protocols of devices: whether the host has one of this driver at that path, whatever the name looks like. At once. What such a driver
   * opens is there already and stays: it is not made, and not removed.
   */
  recognises?(path: string): boolean
  /** Protocols: the option `filename` is a path of the host, in which a colon ends no protocol. */
  readonly takesPaths?: boolean
  /** Of the driver `file`: the path of a `file:` URL; undefined for URLs of other protocols. @throws BlockError EINVAL */
  pathOfUrl?(url: UrlLike): string | undefined
  /** Turns a file name with one of the prefixes, given whole, into options. */
  parseFilename?(filename: string): Record<string, unknown>
  /**
   * The inverse of {@link parseFilename}: the file name that stands for the options a node was given. `child` is the
   * name of the node's one child, empty where it has none but `json:{...}`.
   *
   * @returns undefined where no name says the same
   */
  nameFromOptions?(options: RawOptions, child: string | undefined): string | undefined
  /** What may be shown of a text of the options, or of a file name: addresses may have a password in them. Default: all of it. */
  shown?(text: string): string
  open(context: OpenContext<OptionValues<O>>): Promise<NodeOps>
  /** Formats an open, empty file. */
  create?(context: CreateContext<OptionValues<C>>): Promise<void>
  /**
   * Judges options of {@link create} that do not depend on the file, before one is made or emptied for it.
   *
   * @throws BlockError what `create` would throw for them
   */
  checkCreate?(options: OptionValues<C>): Promise<void>
  /**
   * Protocols: makes (or empties) the place that `options` name, `size` bytes large; `placeOptions` are parsed. Where it fails,
   * nothing is there that was not there before.
   *
   * @returns what takes it back; nothing for a place that was there before
   */
  createPlace?(
    options: OptionValues<O>,
    size: number,
    preallocation: Preallocation,
    placeOptions?: Readonly<Record<string, unknown>>,
  ): Promise<CreatedPlace | undefined>
}

/** A place that was made new. */
export interface CreatedPlace {
  /**
   * Removes it, with all that was made for it: it is of no use. It must be closed.
   *
   * @throws BlockError EBUSY while it is open
   */
  remove(): Promise<void>
}

/** A driver of any options, as a registry holds it. */
export type AnyDriver = BlockDriver<OptionTable, OptionTable>

/** Types a driver by its own option tables; returns it unchanged. */
export const defineDriver = <O extends OptionTable, C extends OptionTable>(
  driver: BlockDriver<O, C>,
): BlockDriver<O, C> => driver
