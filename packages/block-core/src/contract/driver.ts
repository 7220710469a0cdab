/**
 * What a driver is: types only. A driver is one plain object made with {@link defineDriver}; for every open
 * node it returns a {@link NodeOps} object. Users call {@link BlockNode}; driver authors implement these
 * types.
 */
import type { NoOptions, OptionTable, OptionValues } from '../text/options.ts'
import type { ChangeObserver } from './changes.ts'
import type { Creation } from './creation.ts'
import type { ChildReference, DriverFacts, DriverKind } from './driver-facts.ts'
import type { BlockChild } from './node.ts'
import type { NodeOps } from './node-ops.ts'
import type { DriverEvents } from './reports.ts'
import type { Preallocation } from './requests.ts'

/** The names of a driver's single children, from the keys of {@link DriverFacts.children}. */
export type ChildName<K extends string> = string extends K ? string : Exclude<K, `${string}.*`>
/** The names of its lists of children: `extents` for the key `extents.*`. */
export type ChildListName<K extends string> = string extends K ? string : K extends `${infer L}.*` ? L : never

/** The input of `open`. */
export interface OpenContext<O, N extends string = string, L extends string = string> {
  readonly nodeName: string
  /** The file name the node is opened from, for messages; empty if there is none. */
  readonly filename: string
  readonly readOnly: boolean
  /** `auto-read-only=on`: a node that cannot be written may be opened read-only instead (`requireReadOnly`). */
  readonly autoReadOnly: boolean
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
   * Opens a declared child, or uses a node that is already open. The user's option of that name wins; else
   * `implicit`, a name found in the image, which the host (`ImageResolver`) resolves or refuses.
   *
   * @returns undefined if neither is given, or the user gave `null`.
   */
  child(name: N, implicit?: ChildReference): Promise<BlockChild | undefined>
  /** Like {@link child}, for a child that the driver requires. @throws BlockError EINVAL */
  requireChild(name: N): Promise<BlockChild>
  /**
   * Opens a declared list of children, in order: those of the user, and for the others what the image says in
   * `implicit`.
   *
   * @returns as many as the longer of the two lists has; none if neither is given
   */
  children(list: L, implicit?: readonly ChildReference[]): Promise<readonly BlockChild[]>
  /**
   * The bytes of a secret that options name: for the driver alone, in no message. Usable from `open` on.
   *
   * @throws BlockError EINVAL for an unknown id
   */
  secret(id: string): Promise<Uint8Array>
  /** Emits events of the node. Usable from `open` on; events are kept until the node exists. */
  readonly events: DriverEvents
  /**
   * Tells `observer` of the changes of the driver's own node, as {@link BlockNode.observe} does. Usable from `open` on:
   * before the node exists, nothing changes it.
   *
   * @returns ends the observation
   */
  observe(observer: ChangeObserver): () => void
}

/** A file that was newly made. */
export interface CreatedFile {
  /**
   * Removes the file, and everything else that was made for it. It must be closed.
   *
   * @throws BlockError EBUSY while it is open
   */
  remove(): Promise<void>
}

/**
 * A driver: one constant object, readable from top to bottom.
 *
 * Its types name what users may give: the runtime options `O`, the options of creation `C`, the children `K`, and the
 * name `N`. What its functions get is typed by {@link defineDriver} alone, so that a registry holds drivers of all types.
 */
export interface BlockDriver<
  O extends OptionTable = OptionTable,
  C extends OptionTable = OptionTable,
  K extends string = string,
  N extends string = string,
> extends DriverFacts<O, K, N> {
  // biome-ignore lint/suspicious/noExplicitAny: see above
  open(context: OpenContext<any>): Promise<NodeOps>
  /**
   * How images of this format are made; undefined: not at all. Loads the code for it, if that is kept out of a page's
   * start.
   *
   * @throws BlockError EIO if the code cannot be loaded
   */
  creation?(): Promise<Creation<C> | undefined>
  /**
   * The driver that this one stands for: see {@link lateFormat}. Its options, its children and what it can do are only
   * there. Absent: this is the whole driver.
   *
   * @throws BlockError EIO if the code cannot be loaded
   */
  whole?(): Promise<AnyDriver>
  /**
   * Protocols: makes (or empties) the file that `options` name, `size` bytes large; `fileOptions` are
   * parsed. If it fails, no new file is left behind.
   *
   * @returns the means to remove a new file; undefined if the file existed before
   */
  createFile?(
    options: OptionValues<O>,
    size: number,
    preallocation: Preallocation,
    fileOptions?: Readonly<Record<string, unknown>>,
  ): Promise<CreatedFile | undefined>
}

/** A driver with any options, as a registry holds it. */
export type AnyDriver = BlockDriver

/** The input of {@link defineDriver}: a driver whose `open` knows the types of its options and children. */
export interface DriverDefinition<
  O extends OptionTable,
  C extends OptionTable,
  K extends string,
  N extends string,
  T extends DriverKind,
> extends Omit<BlockDriver<O, C, K, N>, 'open' | 'kind'> {
  readonly kind: T
  open(context: OpenContext<OptionValues<O>, ChildName<K>, ChildListName<K>>): Promise<NodeOps>
}

/**
 * Infers a driver's type from its name, option tables and children; returns the driver unchanged. A protocol has no
 * children; a format or filter that declares none has `file`.
 */
export const defineDriver = <
  const N extends string,
  T extends DriverKind,
  O extends OptionTable = NoOptions,
  C extends OptionTable = NoOptions,
  K extends string = 'file',
>(
  driver: DriverDefinition<O, C, K, N, T>,
): BlockDriver<O, C, T extends 'protocol' ? never : K, N> => driver as never
