/**
 * Sources in browsers: picked files, web servers, the storage of the page's origin, bytes, new images and overlays on any
 * of them, with the drivers for them. Besides node-js.ts, the only file that names drivers.
 * @module
 */

import { blob, http, indexedDb, opfs } from '@vmblock/block-core/browser'
import { isPlain, wrongValue } from '@vmblock/block-core/driver'
import {
  type AnyDriver,
  BlockError,
  type BlockNode,
  DriverRegistry,
  denyHost,
  type ImageResolver,
  isBlockError,
  memory,
  type NodeOptions,
  nullCo,
  type OpenEnvironment,
  openNode,
} from '@vmblock/block-core/open'
import { formats } from '@vmblock/formats'
import { qcow2 } from '@vmblock/qcow2'
import type { Allow, PreparedSource, SourceSettings } from './kit.ts'
import { directoryHost, pageHost } from './named-beside.ts'
import type { SourceFile, SourceKit } from './open-source.ts'
import { type Meanings, plainSource } from './plain-source.ts'
import type {
  BlobSource,
  DiskSource,
  ImageSource,
  IndexedDbSource,
  MemorySource,
  OpfsSource,
  OverlaySource,
  UrlSource,
} from './source.ts'
import { blobFile, memoryFile, urlFile } from './source-files.ts'

/** A source that holds an image. A string is a URL; the file of a handle is only read. */
export type BrowserImageSource =
  | string
  | URL
  | Blob
  | FileSystemFileHandle
  | ArrayBufferView
  | ArrayBufferLike
  | BlobSource
  | UrlSource
  | OpfsSource
  | IndexedDbSource
  | MemorySource

/** Two disks as one, see {@link OverlaySource}. */
export interface BrowserOverlaySource {
  readonly overlay: OpfsSource | IndexedDbSource | 'memory'
  readonly base: BrowserImageSource | BrowserOverlaySource | BlockNode
}

/** All sources of a disk in a browser. */
export type BrowserSource =
  | BrowserImageSource
  | BrowserOverlaySource
  | OverlaySource
  | BlockNode
  | NodeOptions

/**
 * The resolver that lets images name the files that are allowed. In a page, directories are those of URLs and of the
 * origin private file system, as the part of a name before its last slash.
 *
 * @throws BlockError EINVAL that names `allow`
 */
export function resolverOf(allow: Allow = 'none'): ImageResolver {
  if (allow === 'none') return denyHost
  if (allow === 'all') return pageHost
  if (allow === 'directory') return directoryHost()
  const { resolve, directory } = (allow ?? {}) as Partial<ImageResolver & { directory: string | URL }>
  if (typeof resolve === 'function') return allow as ImageResolver
  if (isPlain(allow) && directory !== undefined && Object.keys(allow).length === 1)
    return directoryHost(directory)
  throw wrongValue('allow', "'directory', 'none', 'all', { directory } or an ImageResolver", allow)
}

/** The drivers of this entry, and the resolver of what images name. */
export const sourceEnvironment = ({
  host,
  onWarn,
  onRepair,
  secret,
}: SourceSettings = {}): OpenEnvironment => ({
  registry: new DriverRegistry([...formats, blob, http, opfs, indexedDb, memory, nullCo]),
  host: host ?? denyHost,
  ...(onWarn && { onWarn }),
  ...(onRepair && { onRepair }),
  ...(secret && { secret }),
})

/** What opens sources in an environment. */
export const sourceKit = (environment: OpenEnvironment, { checkSize }: SourceSettings = {}): SourceKit => ({
  environment,
  imageDriver: qcow2 as AnyDriver,
  fileOf: (source) => fileOf(environment, source),
  ...(checkSize && { checkSize }),
})

/**
 * Prepares a source for `openSource`.
 *
 * @throws the browser's error for a handle whose file is gone
 */
export async function prepareSource(
  source: BrowserSource,
  settings: SourceSettings = {},
): Promise<PreparedSource> {
  return {
    source: (await plainSource(source, MEANINGS)) as DiskSource,
    kit: sourceKit(sourceEnvironment(settings), settings),
  }
}

const MEANINGS: Meanings = {
  named: (url) => ({ url }),
  async handle(value) {
    const { getFile } = value as Partial<FileSystemFileHandle>
    return typeof getFile === 'function' ? { blob: await getFile.call(value) } : undefined
  },
}

function fileOf(environment: OpenEnvironment, source: ImageSource): SourceFile {
  if ('blob' in source) return blobFile(source)
  if ('url' in source) return urlFile(source)
  if ('opfs' in source) {
    const { opfs: filename, lockTimeout = 2000, worker } = source
    return stored(environment, { driver: 'opfs', filename, lockTimeout, ...(worker && { worker }) }, filename)
  }
  if ('indexeddb' in source) {
    const { indexeddb: filename, lockTimeout } = source
    const given = lockTimeout !== undefined && { lockTimeout }
    return stored(environment, { driver: 'indexeddb', filename, ...given }, filename)
  }
  if ('memory' in source) return memoryFile(source)
  throw new BlockError('ENOTSUP', `the source is not one for browsers: { ${Object.keys(source).join(', ')} }`)
}

/** A file in the storage of the page's origin. */
const stored = (environment: OpenEnvironment, bytes: NodeOptions, name: string): SourceFile => ({
  bytes,
  readOnly: false,
  name,
  exists: () => holdsAnything(environment, bytes),
})

/** Whether there is a disk. A file without bytes is left from a creation that was interrupted. */
async function holdsAnything(environment: OpenEnvironment, bytes: NodeOptions): Promise<boolean> {
  let node: BlockNode
  try {
    node = await openNode(environment, { ...bytes, readOnly: true })
  } catch (error) {
    if (isBlockError(error, 'ENOENT')) return false
    throw error
  }
  try {
    return node.size > 0
  } finally {
    await node.close()
  }
}
