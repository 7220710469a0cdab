/**
 * Sources in Node.js: paths and URLs, bytes, Blobs, new images and overlays, with the drivers for them. Besides
 * browser.ts, the only file that names drivers.
 * @module
 */
import { constants, readFileSync, realpathSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path'
import { isPlain, loadOnce, pathName, wrongValue } from '@vmblock/block-core/driver'
import { file, fromHostError, hostCdrom, hostDevice, nodeHost, pathOfUrl } from '@vmblock/block-core/node'
import {
  type AnyDriver,
  BlockError,
  type BlockNode,
  DriverRegistry,
  denyHost,
  type ImageResolver,
  memory,
  type NodeOptions,
  nullCo,
  type OpenEnvironment,
} from '@vmblock/block-core/open'
import { formats } from '@vmblock/formats'
import { qcow2 } from '@vmblock/qcow2'
import { isFileHandle } from './check-source.ts'
import type { Allow, PreparedSource, SourceSettings } from './kit.ts'
import type { SourceFile } from './open-source.ts'
import { type Meanings, plainSource } from './plain-source.ts'
import type {
  BlobSource,
  DiskSource,
  FileSource,
  ImageSource,
  MemorySource,
  OpenFileHandle,
  OverlaySource,
  UrlSource,
} from './source.ts'
import { blobFile, memoryFile, urlFile } from './source-files.ts'

/**
 * A source that holds an image. A string is a path; a `URL` is of a file, or of a file on a web server; a `FileHandle` is
 * opened again ({@link FileSource}).
 */
export type NodeJsImageSource =
  | string
  | URL
  | Blob
  | OpenFileHandle
  | ArrayBufferView
  | ArrayBufferLike
  | FileSource
  | UrlSource
  | BlobSource
  | MemorySource

/** Two disks as one, see {@link OverlaySource}. */
export interface NodeJsOverlaySource {
  readonly overlay: string | URL | FileSource | 'memory'
  readonly base: NodeJsImageSource | NodeJsOverlaySource | BlockNode
}

/** All sources of a disk in Node.js. */
export type NodeJsSource = NodeJsImageSource | NodeJsOverlaySource | OverlaySource | BlockNode | NodeOptions

/** Lets each image open files in its own directory; an image without a path may open nothing. */
const besideImage: ImageResolver = {
  resolve: (reference, parent, role) =>
    nodeHost(parent === '' ? { allow: 'none' } : { directory: dirname(parent) }).resolve(
      reference,
      parent,
      role,
    ),
}

/** The resolver that lets images name the files that are allowed. @throws BlockError EINVAL that names `allow` */
export function resolverOf(allow: Allow = 'directory'): ImageResolver {
  if (allow === 'directory') return besideImage
  if (allow === 'none') return denyHost
  if (allow === 'all') return nodeHost()
  const { resolve: resolves, directory } = (allow ?? {}) as Partial<
    ImageResolver & { directory: string | URL }
  >
  if (typeof resolves === 'function') return allow as ImageResolver
  if (isPlain(allow) && directory !== undefined && Object.keys(allow).length === 1)
    return nodeHost({ directory })
  throw wrongValue('allow', "'directory', 'none', 'all', { directory } or an ImageResolver", allow)
}

/** Drivers of what lies on web servers and in Blobs: few programs need them. */
const loadWeb = loadOnce('URLs and Blobs', () => import('@vmblock/block-core/browser'))
type Web = Awaited<ReturnType<typeof loadWeb>>

/** The drivers of this entry (without those for URLs and Blobs), and the resolver of what images name. */
export const sourceEnvironment = (settings: SourceSettings = {}): OpenEnvironment =>
  environmentOf(settings, undefined)

function environmentOf(
  { host, onWarn, onRepair, secret }: SourceSettings,
  web: Web | undefined,
): OpenEnvironment {
  const more = web ? [web.blob, web.http] : []
  return {
    registry: new DriverRegistry([...formats, file, hostDevice, hostCdrom, memory, nullCo, ...more]),
    host: host ?? besideImage,
    ...(onWarn && { onWarn }),
    ...(onRepair && { onRepair }),
    ...(secret && { secret }),
  }
}

/**
 * Prepares a source for `openSource`.
 *
 * @throws BlockError EINVAL for a URL that is neither of a file on this machine nor of a web server; EIO if the code for
 *   URLs cannot be loaded
 */
export async function prepareSource(
  source: NodeJsSource,
  settings: SourceSettings = {},
): Promise<PreparedSource> {
  const { checkSize } = settings
  const plain = await plainSource(source, MEANINGS)
  return {
    source: plain as DiskSource,
    kit: {
      environment: environmentOf(settings, needsWeb(plain) ? await loadWeb() : undefined),
      imageDriver: qcow2 as AnyDriver,
      fileOf,
      ...(checkSize && { checkSize }),
    },
  }
}

const isOfWeb = (url: URL | string): boolean => /^https?:/i.test(String(url))

const MEANINGS: Meanings = {
  named(name) {
    if (!isOfWeb(name)) return { file: name }
    if (typeof name !== 'string') return { url: name }
    throw new BlockError('EINVAL', `'${name}' is a path here: give a URL, or { url }`)
  },
  handle: (value) => (isFileHandle(value) ? { file: value } : undefined),
}

/** Deeper sources, and graphs, are refused anyway. */
const DEEPEST = 100

/** Whether a URL or a Blob is anywhere in a source, or in the options of a node. */
function needsWeb(source: unknown, depth = 0): boolean {
  if (!isPlain(source) || depth > DEEPEST) return false
  return Object.entries(source).some(
    ([key, value]) =>
      /(^|\.)(url|blob)$/.test(key) ||
      (/(^|\.)filename$/.test(key) && isOfWeb(value as string)) ||
      needsWeb(value, depth + 1),
  )
}

function fileOf(source: ImageSource): SourceFile {
  if ('file' in source) {
    const { file: name } = source
    return isFileHandle(name) ? handleFile(name) : hostFile(pathOf(name))
  }
  if ('url' in source) return urlFile(source)
  if ('blob' in source) return blobFile(source)
  if ('memory' in source) return memoryFile(source)
  throw new BlockError('ENOTSUP', `the source is one for browsers: { ${Object.keys(source).join(', ')} }`)
}

/** @throws BlockError EINVAL for a URL that is not of a file on this machine */
function pathOf(name: string | URL): string {
  if (typeof name === 'string') return name
  const path = pathOfUrl(name)
  if (path !== undefined) return path
  throw new BlockError('EINVAL', `a file in Node.js has a path or a file: URL, not '${name}'`)
}

/**
 * The overlay's name for its base: a path relative to the overlay's directory, written so that no program
 * takes it for a protocol.
 */
function nameBeside(overlay: string, base: string): string {
  if (isAbsolute(base)) return base
  // Programs follow links before they go up by `..`, so the real directories count.
  const from = realDirectory(overlay)
  const name = relative(from, join(realDirectory(base), basename(base)))
  return pathName(sep === '/' ? name : name.replaceAll(sep, '/'))
}

function realDirectory(path: string): string {
  try {
    return realpathSync.native(dirname(path))
  } catch {
    return resolve(dirname(path))
  }
}

/**
 * The file of a handle, opened again by the link that Linux has for it: with a descriptor of its own, locks and
 * O_DIRECT are as for any file, and the caller may close the handle. It has no name, also not for images.
 *
 * @throws BlockError EINVAL for a closed handle; EACCES for one that cannot be read; ENOTSUP on other systems
 */
function handleFile({ fd }: OpenFileHandle): SourceFile {
  if (fd < 0) throw new BlockError('EINVAL', 'the FileHandle is closed')
  let flags: number
  try {
    flags = Number.parseInt(
      /^flags:\s*(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'latin1'))![1]!,
      8,
    )
  } catch (cause) {
    throw new BlockError('ENOTSUP', 'this system does not open files by their handles: give the path', {
      cause,
    })
  }
  if (flags & constants.O_WRONLY) throw new BlockError('EACCES', 'the FileHandle was opened only for writing')
  const { bytes, exists } = hostFile(`/proc/self/fd/${fd}`)
  return { bytes, readOnly: (flags & constants.O_RDWR) === 0, exists: exists! }
}

function hostFile(filename: string): SourceFile {
  return {
    // Always a path, even if it begins like a protocol.
    bytes: {
      driver: hostDevice.recognises?.(filename) ? hostDevice.name : file.name,
      filename: pathName(filename),
    },
    readOnly: false,
    name: filename,
    nameFrom(overlay) {
      if (typeof overlay !== 'object' || !('file' in overlay)) return undefined
      return isFileHandle(overlay.file) ? undefined : nameBeside(pathOf(overlay.file), filename)
    },
    // A file without bytes is left from a creation that was interrupted; devices have none, but content.
    async exists() {
      try {
        const stats = await stat(filename)
        return !stats.isFile() || stats.size > 0
      } catch (error) {
        if ((error as { code?: unknown }).code === 'ENOENT') return false
        throw fromHostError(error, `Could not open '${filename}'`)
      }
    },
  }
}
