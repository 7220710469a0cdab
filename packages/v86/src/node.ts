/**
 * Disks for v86 in Node: paths, overlays, and options of nodes, with the drivers for them. The only file but browser.ts that names
 * drivers.
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
  memory,
  memoryFromBytes,
  type NodeOptions,
  nullCo,
  type OpenEnvironment,
  type OpenHost,
  parseOptions,
  pathName,
} from '@vmblock/block-core'
import { file, fromHostError, hostCdrom, hostDevice, nodeHost, pathOfUrl } from '@vmblock/block-core/node'
import { qcow2 } from '@vmblock/qcow2'
import { qed } from '@vmblock/qed'
import { raw } from '@vmblock/raw'
import { contentOf, requireHost } from './check-source.ts'
import type { OpenedPlace, SourceKit } from './open-source.ts'
import type { FileSource, MemorySource, OverlaySource, PlaceSource } from './source.ts'
import { checkDiskSize, requireV86Options, type V86Disk, type V86DiskOptions } from './v86-disk.ts'
import { diskOfSource } from './v86-disk-of.ts'

/** What a disk in Node may be made of; a string is a path, a `URL` one of `file:`. */
export type NodeDiskSource =
  | string
  | URL
  | FileSource
  | MemorySource
  | OverlaySource
  | BlockNode
  | NodeOptions

/** How disks in Node are opened. */
export interface NodeDiskOptions extends V86DiskOptions {
  /** What images may name. Default: each image regular files of its own directory, and what is below it. */
  readonly host?: OpenHost
}

/** Each image may name what lies beside it; one that lies nowhere has nothing beside it. */
const besideHost: OpenHost = {
  resolve: (reference, parent, role) =>
    nodeHost(parent === '' ? { allow: 'none' } : { directory: dirname(parent) }).resolve(
      reference,
      parent,
      role,
    ),
}

/** The drivers of this entry, and a host: for nodes that are opened beside the disks. */
export const nodeEnvironment = (host: OpenHost = besideHost): OpenEnvironment => ({
  registry: new DriverRegistry([raw, qcow2, qed, file, hostDevice, hostCdrom, memory, nullCo]),
  host,
})

/**
 * A disk for v86 in Node: `new V86({ hda: await v86Disk('disk.qcow2') })`, `await v86Disk({ file: 'new.qcow2', size: '2G' })`,
 * `await v86Disk({ overlay: { file: 'mine.qcow2' }, base: { file: 'base.img' } })`.
 *
 * @throws BlockError of opening, and of making images; EINVAL for a size that is not made of sectors; EFBIG from 2 TiB on
 */
export async function v86Disk(source: NodeDiskSource, options: NodeDiskOptions = {}): Promise<V86Disk> {
  requireV86Options(options, { host: requireHost })
  const { host, ...settings } = options
  const kit: SourceKit = {
    environment: nodeEnvironment(host),
    imageDriver: qcow2 as AnyDriver,
    place: placeOf,
    checkSize: checkDiskSize,
  }
  const named = typeof source === 'string' || source instanceof URL ? { file: source } : source
  return diskOfSource(kit, named, settings)
}

function placeOf(source: PlaceSource): OpenedPlace {
  if ('file' in source) return filePlace(pathOf(source.file))
  if (!('memory' in source))
    throw new BlockError('ENOTSUP', `the place is one for browsers: { ${Object.keys(source).join(', ')} }`)
  const content = contentOf(source)
  return {
    bytes:
      typeof content === 'number'
        ? { driver: 'memory', size: content }
        : memoryFromBytes(content, { readOnly: source.readOnly ?? false }),
    readOnly: source.readOnly ?? false,
  }
}

/** @throws BlockError EINVAL for a URL of something else than a file of this machine */
function pathOf(file: string | URL): string {
  if (!(file instanceof URL)) return file
  const path = pathOfUrl(file)
  if (path !== undefined) return path
  throw new BlockError('EINVAL', `a disk in Node is made of files, not of '${file}'`)
}

/** What an overlay calls its base: a path from where the overlay lies, which no other program takes for a protocol. */
function nameBeside(overlay: string, base: string): string {
  if (isAbsolute(base)) return base
  // Programs follow links before they go up by `..`, so the real directories are what counts.
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

function filePlace(filename: string): OpenedPlace {
  return {
    // A path, also where it begins like a protocol.
    bytes: {
      driver: hostDevice.recognises?.(filename) ? hostDevice.name : file.name,
      filename: pathName(filename),
    },
    readOnly: false,
    nameFrom(overlay) {
      if (typeof overlay !== 'object' || !('file' in overlay)) return undefined
      return nameBeside(pathOf(overlay.file), filename)
    },
    // A file of no bytes was begun to be made, by a process that did not get far.
    async exists() {
      try {
        return (await stat(filename)).size > 0
      } catch (error) {
        if ((error as { code?: unknown }).code === 'ENOENT') return false
        throw fromHostError(error, `Could not open '${filename}'`)
      }
    },
    create: () => file.createPlace!(parseOptions(file.options!, { filename }), 0, 'off'),
  }
}
