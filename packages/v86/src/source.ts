/**
 * What a disk may be made of. A node that is open, or the options of one, need nothing else; places (a file, a URL) are
 * understood by the entry that brings their drivers: `@vmblock/v86/node`, `@vmblock/v86/browser`.
 */
import type { BlockNode, Bytes, NodeOptions, WorkerLike } from '@vmblock/block-core'

/** Makes a worker of `@vmblock/v86/opfs-worker`, or is the address of that script, which is a module. */
export type WorkerSource = (() => WorkerLike) | string | URL

/** What is said of a place beside where it is. */
export interface PlaceOptions {
  /** The format of the image: `raw`, `qcow2`, `qed`. Default: found out; then a raw image refuses to become another. */
  readonly format?: string
  /** Default: no, where the place can be written to. */
  readonly readOnly?: boolean
  /** Makes the image if it is not there: a qcow2 image of that size, in bytes or as `'2G'`. Only where one can write. */
  readonly size?: number | string
}

/** A path of the file system, or a `file:` URL of one; colons in a path are part of it. Node only. */
export interface FileSource extends PlaceOptions {
  readonly file: string | URL
}

/** A `File` or `Blob` that the user picked. Read-only. */
export interface BlobSource extends Omit<PlaceOptions, 'size'> {
  readonly blob: Blob
}

/** Something on a web server that answers range requests. Read-only. */
export interface UrlSource extends Omit<PlaceOptions, 'size'> {
  readonly url: string | URL
  /** Bytes to fetch ahead of a reader who goes on. Default: 1 MiB. */
  readonly readAhead?: number
  /** Bytes to keep of what was fetched, as it is on the server. Default: 16 MiB. */
  readonly cacheSize?: number
  /** Seconds without a byte after which a request has failed, and the longest that closing the disk waits. Default: 30. */
  readonly timeout?: number
  /** How often a request is repeated that failed for a reason that may pass. Default: 3. */
  readonly retries?: number
  /** Do not compare `ETag` and `Last-Modified` with those of before: the file is known not to change. Default: no. */
  readonly ignoreValidators?: boolean
  /** What makes the requests, with a login for instance. Default: the global `fetch`. */
  readonly fetch?: typeof fetch
}

/** A file of the origin's private file system, by its path there. Browsers only. */
export interface OpfsSource extends PlaceOptions {
  readonly opfs: string
  /** Milliseconds to wait for another tab to let go of the file. Default: 2000. */
  readonly lockTimeout?: number
  /** Makes the worker that holds the file for a page, or where its script is, where the usual one cannot be had. */
  readonly worker?: WorkerSource
}

/** A disk in the browser's database, by its name: for where there is no OPFS. Browsers only. */
export interface IndexedDbSource extends PlaceOptions {
  readonly indexeddb: string
  /** Milliseconds to wait for another tab to let go of the disk. Default: 2000. */
  readonly lockTimeout?: number
}

/** Bytes in memory, or a disk of so many bytes that is gone with the page. */
export interface MemorySource extends Omit<PlaceOptions, 'size'> {
  readonly memory: Bytes | number
}

/** One place, which holds an image. */
export type PlaceSource = FileSource | BlobSource | UrlSource | OpfsSource | IndexedDbSource | MemorySource

/**
 * Two disks as one: what is written goes to `overlay`, a qcow2 image that is made if it is not there; what was not written is
 * read from `base`, which stays as it is.
 */
export interface OverlaySource {
  /** `memory`: what is written is gone with the page. */
  readonly overlay: FileSource | OpfsSource | IndexedDbSource | 'memory'
  readonly base: PlaceSource | OverlaySource | BlockNode
}

/** Everything that a disk may be made of. */
export type DiskSource = PlaceSource | OverlaySource | BlockNode | NodeOptions
