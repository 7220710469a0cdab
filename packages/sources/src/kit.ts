/** What the entries have in common: their options, and sources that are ready to be opened. */
import type { CheckReport, ImageResolver, OpenEnvironment } from '@vmblock/block-core/open'
import type { SourceKit } from './open-source.ts'
import type { DiskSource } from './source.ts'

/** What images may name, what is told of them, and which are made. */
export interface SourceSettings {
  /** Which files images may name. Default: in Node.js those in the directory of each image; in a page none. */
  readonly host?: ImageResolver | undefined
  /** Called with every warning, also while opening. */
  readonly onWarn?: ((line: string) => void) | undefined
  /** Called after every repair of an image at opening. */
  readonly onRepair?: ((report: CheckReport, nodeName: string) => void) | undefined
  /** The bytes of secrets that options name by id. */
  readonly secret?: OpenEnvironment['secret'] | undefined
  /** Checks the size of a disk, in bytes, before an image is created for it. Default: any size is valid. @throws BlockError */
  readonly checkSize?: ((bytes: number) => void) | undefined
}

/**
 * Which files an image may name. `directory`: those in its own directory and below; `none`; `all`; those in a directory;
 * or what a resolver says.
 */
export type Allow = 'directory' | 'none' | 'all' | { readonly directory: string | URL } | ImageResolver

/** A source, and what opens it: the arguments of `openSource`. */
export interface PreparedSource {
  readonly kit: SourceKit
  readonly source: DiskSource
}
