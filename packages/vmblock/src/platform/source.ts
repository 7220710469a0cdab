/**
 * What a disk is opened from, and where images are made. The types are the same in Node and in pages, so that one
 * program may serve both; a source that a platform does not have is refused with ENOTSUP.
 */
import type { BlockNode, Bytes, NodeOptions } from '@vmblock/block-core'
import type { UrlLike } from '@vmblock/block-core/driver'
import type {
  BlobSource,
  FileSource,
  IndexedDbSource,
  MemorySource,
  OpenFileHandle,
  OpfsSource,
  OverlaySource,
  UrlSource,
} from '@vmblock/sources'
import type { VirtualDisk } from '../disk/virtual-disk.ts'

/** A `FileSystemFileHandle` that the user picked, read as a file. Pages only. */
export interface PickedFile {
  readonly kind: 'file'
  getFile(): Promise<Blob>
}

/** The options of a node of the block layer, as its `openNode` takes them: for what no other source says. */
export interface NodeSource {
  readonly node: NodeOptions
}

/**
 * A disk, or where its image is:
 *
 * - a string: a path in Node.js, a URL in a page
 * - a `URL`: `http:` and `https:` (read-only), in Node.js also `file:`
 * - bytes, of which a copy is opened; a `Blob` or `File`, a picked file, a `FileHandle`
 * - `{ file }`, `{ url }`, `{ blob }`, `{ opfs }`, `{ indexeddb }`, `{ memory }`, each with options
 * - `{ overlay, base }`: two disks as one
 * - an open disk or node, which stays open. A node that is no more than bytes (of a protocol) is taken for an image
 * - `{ node: { driver, ... } }`: the options of a node
 */
export type Source =
  | string
  | UrlLike
  | Bytes
  | Blob
  | PickedFile
  | OpenFileHandle
  | FileSource
  | UrlSource
  | BlobSource
  | OpfsSource
  | IndexedDbSource
  | MemorySource
  | OverlaySource
  | NodeSource
  | BlockNode
  | VirtualDisk

/** Where an image is made: the sources that can be written. In a page, a string is no target. */
export type Target =
  | string
  | UrlLike
  | OpenFileHandle
  | Pick<FileSource, 'file'>
  | Pick<OpfsSource, 'opfs' | 'lockTimeout' | 'worker'>
  | Pick<IndexedDbSource, 'indexeddb' | 'lockTimeout'>
  | NodeSource
  | BlockNode
