/**
 * What a driver says of itself, before it opens anything: what options, probes, programs and graphs read.
 */

import type { UrlLike } from '../base/platform-types.ts'
import type { OptionTable, RawOptions } from '../text/options.ts'
import type { ChildKinds } from './child-kinds.ts'

/**
 * A protocol gives access to bytes outside the graph (a file, a server) and has no children; a format
 * presents a disk from the bytes of its `file` child; a filter shows the content of its one child.
 */
export type DriverKind = 'protocol' | 'format' | 'filter'

/** A child as an image names it: strings from a header, never yet opened. */
export interface ChildReference {
  readonly filename: string
  /** Format the image claims for it; undefined means "probe", which a host (`ImageResolver`) may refuse. */
  readonly driver?: string | undefined
}

/** A child, to make the name of its parent from its own. */
export interface NamedNode {
  readonly filename: string
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

/** Returns the options that a reopen keeps. Trees as users write them, keys in QEMU's spelling. */
export type KeepOptions = (before: RawOptions, given: RawOptions) => RawOptions

/** Everything about a driver but the functions that work on nodes: those are in {@link BlockDriver}. */
export interface DriverFacts<
  O extends OptionTable = OptionTable,
  K extends string = string,
  N extends string = string,
> extends FormatProbe {
  readonly name: N
  readonly kind: DriverKind
  /** Runtime options beside the common ones and the children. */
  readonly options?: O
  /** Keys (camelCase) of `options` that a reopen may change; changing another is an error. Default: none. */
  readonly mutableOptions?: readonly string[]
  /**
   * What a reopen with new options keeps of the earlier ones, for options that exclude each other. Default: all that
   * are not given again.
   *
   * @throws BlockError EIO if the code cannot be loaded
   */
  keepOptions?(): Promise<KeepOptions>
  /**
   * The children by option name (QEMU's spelling), in the order that messages and names list them. Default: none
   * for a protocol, `file` as {@link storage} for a format, `file` as {@link filtered} for a filter.
   */
  readonly children?: ChildKinds<K>
  /** Protocols: options of `createFile`; `qemu-img create -o` adds them to those of the format. */
  readonly createFileOptions?: OptionTable
  /** Images of this format can be written compressed ({@link NodeOps.writeCompressed}). */
  readonly canCompress?: boolean
  /** A new image does not read as zeroes, as one that is all encrypted: copies write zeroes, too. Default: no. */
  readonly isNoiseWhenNew?: boolean
  /**
   * Options of {@link NodeOps.amend}, in the order QEMU prints them.
   *
   * @throws BlockError EIO if their code cannot be loaded
   */
  amendOptions?(): Promise<OptionTable>
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
   * name of the child that holds its bytes, empty if that name would be `json:{...}`; `children` are all of them.
   *
   * @returns undefined if no name expresses the options
   */
  nameFromOptions?(
    options: RawOptions,
    child: string | undefined,
    children?: ReadonlyMap<string, NamedNode>,
  ): string | undefined
  /**
   * The displayable form of an option's text or of a file name: addresses may contain a password. Default:
   * unchanged.
   */
  shown?(text: string): string
}
