/**
 * The sources of a disk, as an object each. An open node, or the options of one, need nothing else; files and URLs need
 * the entry with their drivers: `@vmblock/sources/node`, `@vmblock/sources/browser`.
 */
import type { BlockNode, Bytes, NodeOptions } from '@vmblock/block-core'
import type { WorkerLike } from '@vmblock/block-core/driver'

/** Makes a worker of `@vmblock/block-core/opfs-worker`, or is the URL of that script, a module. */
export type WorkerSource = (() => WorkerLike) | string | URL

/** Options of a source that holds an image, besides where it is. */
export interface SourceOptions {
  /**
   * The format of the image: `raw`, `qcow2`, `qed`. Default: probed; then a raw image refuses writes that
   * would make it look like another format.
   */
  readonly format?: string
  /** Default: no, if the source is writable. */
  readonly readOnly?: boolean
  /** Creates a missing image: qcow2, of this size, in bytes or as `'2G'`. Only in writable sources. */
  readonly size?: number | string
}

/** What is needed of a `FileHandle` of Node.js. */
export interface OpenFileHandle {
  /** The number of its descriptor. */
  readonly fd: number
}

/**
 * A path of the file system, or a `file:` URL of one; colons in a path are part of it. Or a `FileHandle`, on Linux: the
 * file is opened again, read-only if the handle is, so the handle stays the caller's and may be closed. Node.js only.
 */
export interface FileSource extends SourceOptions {
  readonly file: string | URL | OpenFileHandle
}

/** A `File` that the user picked, or any `Blob`. Read-only. */
export interface BlobSource extends Omit<SourceOptions, 'size'> {
  readonly blob: Blob
}

/** A file on a web server that answers range requests. Read-only. */
export interface UrlSource extends Omit<SourceOptions, 'size'> {
  readonly url: string | URL
  /** Bytes to read ahead for a sequential reader. Default: 1 MiB. */
  readonly readAhead?: number
  /** Bytes of fetched data to cache, as they are on the server. Default: 16 MiB. */
  readonly cacheSize?: number
  /** Seconds without a byte after which a request fails, and the longest that `close` waits. Default: 30. */
  readonly timeout?: number
  /** How often a request is repeated that failed for a transient reason. Default: 3. */
  readonly retries?: number
  /** Whether to ignore `ETag` and `Last-Modified`: the file is known not to change. Default: no. */
  readonly ignoreValidators?: boolean
  /** Makes the requests, with a login for instance. Default: the global `fetch`. */
  readonly fetch?: typeof fetch
}

/** A file of the origin private file system, by its path there. Browsers only. */
export interface OpfsSource extends SourceOptions {
  readonly opfs: string
  /** Milliseconds to wait for another tab to close the file. Default: 2000. */
  readonly lockTimeout?: number
  /**
   * Makes the worker that holds the file for a page, or is the URL of its script. Default: the bundled one.
   */
  readonly worker?: WorkerSource
}

/** A disk in the browser's database, by its name, if there is no OPFS. Browsers only. */
export interface IndexedDbSource extends SourceOptions {
  readonly indexeddb: string
  /** Milliseconds to wait for another tab to close the disk. Default: 2000. */
  readonly lockTimeout?: number
}

/** Bytes in memory, or the size of an empty disk. Lost when the page or process ends. */
export interface MemorySource extends Omit<SourceOptions, 'size'> {
  readonly memory: Bytes | number
}

/** A source that holds an image. */
export type ImageSource = FileSource | BlobSource | UrlSource | OpfsSource | IndexedDbSource | MemorySource

/**
 * Two disks as one: writes go to `overlay`, a qcow2 image that is created if it does not exist; unwritten
 * ranges are read from `base`, which stays unchanged.
 */
export interface OverlaySource {
  /** `memory`: writes are lost when the page or process ends. */
  readonly overlay: FileSource | OpfsSource | IndexedDbSource | 'memory'
  readonly base: ImageSource | OverlaySource | BlockNode
}

/** All sources of a disk. */
export type DiskSource = ImageSource | OverlaySource | BlockNode | NodeOptions
