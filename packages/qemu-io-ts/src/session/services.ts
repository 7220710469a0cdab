/** What a session works with: the environment that images are opened in, and an open image. */

import type { Disk, OpenEnvironment } from '@vmblock/block-core'
import type { CACHE_MODES, CacheMode } from '@vmblock/cli'

/** The services that opening images needs. */
export interface ImageServices {
  /** The drivers, and the `ImageResolver` that resolves names in images. */
  readonly environment: OpenEnvironment
}

/** An entry of a directory. */
export interface Entry {
  readonly name: string
  readonly isDirectory: boolean
}

/** One of QEMU's cache modes, as flags. */
export type CacheFlags = (typeof CACHE_MODES)[CacheMode]

/** An open image. */
export interface Image {
  /** The disk that commands work on. */
  readonly node: Disk
  /** Closes it and the nodes opened for it. @throws the error of closing */
  close(): Promise<void>
  /** Drops it, as the death of the process would. */
  crash(): Promise<void>
}
