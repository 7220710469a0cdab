/**
 * What a disk may be made of. A node that is open, or the options of one, need nothing else; places (a file, a URL) are
 * understood by the entry that brings their drivers: `@vmblock/v86/node`, `@vmblock/v86/browser`.
 */
import type { BlockNode, NodeOptions } from '@vmblock/block-core'

/** What is said of a place beside where it is. */
export interface PlaceOptions {
  /** The format of the image: `raw`, `qcow2`, `qed`. Default: found out; then a raw image refuses to become another. */
  readonly format?: string
  /** Default: no, where the place can be written to. */
  readonly readOnly?: boolean
  /** Makes the image if it is not there: a qcow2 image of that size, in bytes or as `'2G'`. Only where one can write. */
  readonly size?: number | string
}

/** A path of the file system. Node only. */
export interface FileSource extends PlaceOptions {
  readonly file: string
}

/** A `File` or `Blob` that the user picked. Read-only. */
export interface BlobSource extends Omit<PlaceOptions, 'size'> {
  readonly blob: Blob
}

/** Something on a web server that answers range requests. Read-only. */
export interface UrlSource extends Omit<PlaceOptions, 'size'> {
  readonly url: string | URL
}

/** A file of the origin's private file system, by its path there. Browsers only. */
export interface OpfsSource extends PlaceOptions {
  readonly opfs: string
}

/** Bytes in memory, or a disk of so many bytes that is gone with the page. */
export interface MemorySource extends Omit<PlaceOptions, 'size'> {
  readonly memory: Uint8Array | number
}

/** One place, which holds an image. */
export type PlaceSource = FileSource | BlobSource | UrlSource | OpfsSource | MemorySource

/**
 * Two disks as one: what is written goes to `overlay`, a qcow2 image that is made if it is not there; what was not written is
 * read from `base`, which stays as it is.
 */
export interface OverlaySource {
  /** `memory`: what is written is gone with the page. */
  readonly overlay: FileSource | OpfsSource | 'memory'
  readonly base: PlaceSource | OverlaySource | BlockNode
}

/** Everything that a disk may be made of. */
export type DiskSource = PlaceSource | OverlaySource | BlockNode | NodeOptions
