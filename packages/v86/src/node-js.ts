/**
 * Disks for v86 in Node.js: paths, overlays, and options of block nodes, with the drivers for them. Besides
 * browser.ts, the only file that names drivers.
 * @module
 */
import { realpathSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename, dirname, isAbsolute, join, relative, resolve, sep } from 'node:path'
import {
  type AnyDriver,
  BlockError,
  type BlockNode,
  DriverRegistry,
  type ImageResolver,
  memory,
  type NodeOptions,
  nullCo,
  type OpenEnvironment,
  openMemory,
} from '@vmblock/block-core'
import { parseOptions, pathName } from '@vmblock/block-core/driver'
import { file, fromHostError, hostCdrom, hostDevice, nodeHost, pathOfUrl } from '@vmblock/block-core/node'
import { formats } from '@vmblock/formats'
import { qcow2 } from '@vmblock/qcow2'
import { checkDiskSize, requireV86Options, type V86Disk, type V86DiskOptions } from './machine/v86-disk.ts'
import { diskOfSource } from './machine/v86-disk-of.ts'
import { contentOf, requireResolver } from './sources/check-source.ts'
import type { SourceFile, SourceKit } from './sources/open-source.ts'
import type { FileSource, ImageSource, MemorySource, OverlaySource } from './sources/source.ts'

/** The sources of a disk in Node.js; a string is a path, a `URL` must be a `file:` URL. */
export type NodeJsDiskSource =
  | string
  | URL
  | FileSource
  | MemorySource
  | OverlaySource
  | BlockNode
  | NodeOptions

/** Options of disks in Node.js. */
export interface NodeJsDiskOptions extends V86DiskOptions {
  /** Which files images may open. Default: regular files in the image's own directory and below it. */
  readonly host?: ImageResolver
}

/** Lets each image open files in its own directory; an image without a path may open nothing. */
const besideImage: ImageResolver = {
  resolve: (reference, parent, role) =>
    nodeHost(parent === '' ? { allow: 'none' } : { directory: dirname(parent) }).resolve(
      reference,
      parent,
      role,
    ),
}

/** The drivers of this entry, and an `ImageResolver`: to open nodes besides the disks. */
export const nodeJsEnvironment = (host: ImageResolver = besideImage): OpenEnvironment => ({
  registry: new DriverRegistry([...formats, file, hostDevice, hostCdrom, memory, nullCo]),
  host,
})

/**
 * Opens a disk for v86 in Node.js: `new V86({ hda: await v86Disk('disk.qcow2') })`,
 * `await v86Disk({ file: 'new.qcow2', size: '2G' })`,
 * `await v86Disk({ overlay: { file: 'mine.qcow2' }, base: { file: 'base.img' } })`.
 *
 * @throws BlockError of opening, and of creating images; EINVAL for a size that is not a multiple of the
 * sector size; EFBIG from 2 TiB on
 */
export async function v86Disk(source: NodeJsDiskSource, options: NodeJsDiskOptions = {}): Promise<V86Disk> {
  requireV86Options(options, { host: requireResolver })
  const { host, ...settings } = options
  const kit: SourceKit = {
    environment: nodeJsEnvironment(host),
    imageDriver: qcow2 as AnyDriver,
    fileOf: fileOf,
    checkSize: checkDiskSize,
  }
  const named = typeof source === 'string' || source instanceof URL ? { file: source } : source
  return diskOfSource(kit, named, settings)
}

function fileOf(source: ImageSource): SourceFile {
  if ('file' in source) return hostFile(pathOf(source.file))
  if (!('memory' in source))
    throw new BlockError('ENOTSUP', `the place is one for browsers: { ${Object.keys(source).join(', ')} }`)
  const content = contentOf(source)
  return {
    bytes:
      typeof content === 'number'
        ? { driver: 'memory', size: content }
        : openMemory(content, { readOnly: source.readOnly ?? false }),
    readOnly: source.readOnly ?? false,
  }
}

/** @throws BlockError EINVAL for a URL that is not of a file on this machine */
function pathOf(file: string | URL): string {
  if (!(file instanceof URL)) return file
  const path = pathOfUrl(file)
  if (path !== undefined) return path
  throw new BlockError('EINVAL', `a disk in Node is made of files, not of '${file}'`)
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

function hostFile(filename: string): SourceFile {
  return {
    // Always a path, even if it begins like a protocol.
    bytes: {
      driver: hostDevice.recognises?.(filename) ? hostDevice.name : file.name,
      filename: pathName(filename),
    },
    readOnly: false,
    nameFrom(overlay) {
      if (typeof overlay !== 'object' || !('file' in overlay)) return undefined
      return nameBeside(pathOf(overlay.file), filename)
    },
    // A file without bytes is left from a creation that was interrupted.
    async exists() {
      try {
        return (await stat(filename)).size > 0
      } catch (error) {
        if ((error as { code?: unknown }).code === 'ENOENT') return false
        throw fromHostError(error, `Could not open '${filename}'`)
      }
    },
    create: () => file.createFile!(parseOptions(file.options!, { filename }), 0, 'off'),
  }
}
