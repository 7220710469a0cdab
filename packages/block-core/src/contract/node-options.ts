/**
 * The options of nodes as TypeScript users write them, from the tables of the drivers: types only. A misspelled option
 * does not compile, and editors complete the right ones.
 */
import type { UrlLike } from '../base/platform-types.ts'
import type { CamelKey, OptionInput, RawOptions } from '../text/options.ts'
import type { AnyDriver, BlockDriver } from './driver.ts'
import type { BlockNode } from './node.ts'
import type { Preallocation } from './requests.ts'

/** What every node may be given: QEMU's `BlockdevOptionsBase`, and two of our own. */
export interface CommonNodeOptions {
  /** By which other nodes refer to it. Default: one is made up. */
  readonly nodeName?: string | undefined
  /** Default: that of the node above, else `false`. */
  readonly readOnly?: boolean | undefined
  /** Open for reading what cannot be opened for writing. */
  readonly autoReadOnly?: boolean | undefined
  /** Tolerate other writers of the same file. Only with `readOnly`. */
  readonly forceShare?: boolean | undefined
  readonly cache?:
    | {
        /** Bypass the page cache of the host system (O_DIRECT). */
        readonly direct?: boolean | undefined
        /** Never flush to the disk: fast, and loses data when the power fails. */
        readonly noFlush?: boolean | undefined
        /** Off: each write is durable when it completes. Only where the node is opened by `openNode`. */
        readonly writeback?: boolean | undefined
      }
    | undefined
  /** `unmap`: discards and unmapping zero writes reach the file. Default: `ignore`. */
  readonly discard?: 'ignore' | 'off' | 'unmap' | 'on' | undefined
  /** Whether zero bytes that are written become zero writes, and with `unmap` take no space. Default: `off`. */
  readonly detectZeroes?: 'off' | 'on' | 'unmap' | undefined
  /** Open only for a check: no repair, nothing written, broken structures tolerated. */
  readonly checkMode?: boolean | undefined
  /** Open only to be described: an encrypted image then needs no key. */
  readonly noIo?: boolean | undefined
}

/** A child: the options of its node, the name of one that is open, an open one, or `null` for none. */
export type ChildOptions<D extends AnyDriver> = string | BlockNode | NodeOptions<D> | null | undefined

type ChildKeys<V> = V extends BlockDriver<infer _O, infer _C, infer K> ? K : never

type Children<V, D extends AnyDriver> = {
  readonly [K in ChildKeys<V> as K extends `${infer List}.*` ? List : CamelKey<K>]?: K extends `${string}.*`
    ? readonly ChildOptions<D>[] | undefined
    : ChildOptions<D>
}

/** A file name instead of the child it stands for, as QEMU's tools take it. */
interface Named {
  readonly filename?: string | UrlLike | undefined
}

/** All options of a node of driver `V` but its driver; children are nodes of drivers `D`. */
export type OptionsOfDriver<V extends AnyDriver, D extends AnyDriver> =
  V extends BlockDriver<infer O, infer _C, infer K>
    ? CommonNodeOptions & OptionInput<O> & Children<V, D> & ([K] extends [never] ? unknown : Named)
    : never

// Two kinds of union members: the compiler tells members apart by a property that is a literal in some of them.
type ByName<V extends AnyDriver, D extends AnyDriver> = V extends AnyDriver
  ? { readonly driver: V['name'] } & OptionsOfDriver<V, D>
  : never
type ByValue<V extends AnyDriver, D extends AnyDriver> = V extends AnyDriver
  ? { readonly driver: V } & OptionsOfDriver<V, D>
  : never

/** An image whose format is probed. */
interface ProbedOptions<D extends AnyDriver> extends CommonNodeOptions, Named {
  readonly driver?: undefined
  readonly file?: ChildOptions<D>
  readonly backing?: ChildOptions<D>
}

/**
 * Options of a node: the common ones, the driver's own, and children as nested trees, node names or open nodes.
 * `filename` is a file name as QEMU's tools take it: without a `driver`, the file is opened and probed; with the
 * `driver` of a format, it becomes its `file`.
 *
 * Where `D` are the drivers of a registry that knows their types, names and values of options are checked. Without it,
 * for options from strings or JSON, any tree will do: keys in QEMU's spelling or in camelCase, dotted or nested.
 */
export type NodeOptions<D extends AnyDriver = AnyDriver> = string extends D['name']
  ? RawOptions
  : ByName<D, D> | ByValue<D, D> | ProbedOptions<D>

/** Options of a node whose driver is given as a value, as may be those of its file and its backing file. */
export type DriverNodeOptions<
  V extends AnyDriver,
  D extends AnyDriver,
  F extends AnyDriver,
  B extends AnyDriver,
> = {
  readonly driver: V
  readonly file?: ({ readonly driver: F } & OptionsOfDriver<F, D | F | B>) | ChildOptions<D>
  readonly backing?: ({ readonly driver: B } & OptionsOfDriver<B, D | F | B>) | ChildOptions<D>
} & OptionsOfDriver<V, D | F | B>

/** Options of making a file, which protocols on a host's files have. */
export interface FileCreationOptions {
  /** What is allocated at once. Default: `off`. */
  readonly preallocation?: Preallocation | undefined
  /** Without copy-on-write, where the file system is btrfs. */
  readonly nocow?: boolean | undefined
  /** Bytes by which the file system shall allocate, where it is XFS. */
  readonly extentSizeHint?: number | string | undefined
}

/** What `createImage` needs besides the options of the format. */
export interface NewImageOptions<D extends AnyDriver, F extends AnyDriver = never> {
  /** The file of the image: `{ driver: 'file', filename }`, or an open node. */
  readonly file: NewFileOptions<D, F>
  /**
   * The file of the guest's data, if the format can keep it apart. The image names it as its node is named, unless
   * `data_file` gives another name.
   */
  readonly dataFile?: NewFileOptions<D, F> | undefined
  /** Also replace data, which is lost. Default: no. */
  readonly overwrite?: boolean | undefined
  /**
   * Whether a small image is made in memory first, and written by one request, so that a crash leaves an empty file or
   * a whole image. Images that preallocate or have a data file, and images in open nodes, are always made in place.
   * Default: yes; without it files are sparser.
   */
  readonly draft?: boolean | undefined
}

/** A file to be made: the options of a protocol's node, or an open node. */
export type NewFileOptions<D extends AnyDriver, F extends AnyDriver = never> =
  | BlockNode
  | NodeOptions<D>
  | ({ readonly driver: F } & OptionsOfDriver<F, D>)

type CreateByName<V extends AnyDriver, D extends AnyDriver> = V extends AnyDriver
  ? { readonly driver: V['name'] } & CreateBy<V, D>
  : never
type CreateByValue<V extends AnyDriver, D extends AnyDriver> = V extends AnyDriver
  ? { readonly driver: V } & CreateBy<V, D>
  : never
type CreateBy<V extends AnyDriver, D extends AnyDriver, F extends AnyDriver = never> = NewImageOptions<D, F> &
  Omit<CreationOptions<V>, 'dataFile'> &
  FileCreationOptions

/**
 * Options of `createImage`: the format, the file, and the creation options of both. Without the types of drivers, any
 * tree.
 */
export type CreateImageOptions<D extends AnyDriver = AnyDriver> = string extends D['name']
  ? RawOptions
  : CreateByName<D, D> | CreateByValue<D, D>

/** Options of `createImage` with the format as a value, as may be the protocol. */
export type DriverCreateImageOptions<V extends AnyDriver, D extends AnyDriver, F extends AnyDriver> = {
  readonly driver: V
} & CreateBy<V, D, F>

/**
 * Options of creating an image of driver `D`, in camelCase; sizes in bytes or with suffixes (`'2G'`). Without the types
 * of a driver, any tree: keys as `qemu-img create -o` spells them, or in camelCase.
 */
export type CreationOptions<D extends AnyDriver> =
  D extends BlockDriver<infer _O, infer C>
    ? string extends keyof C
      ? RawOptions
      : OptionInput<C> & {
          /** An open node: gives the overlay the name, the format and the size of its backing file. */
          readonly backing?: BlockNode | undefined
        }
    : never
