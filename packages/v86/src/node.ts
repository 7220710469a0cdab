/**
 * Disks for v86 in Node: paths, overlays, and options of nodes, with the drivers for them. The only file but browser.ts that names
 * drivers.
 * @module
 */
import { stat } from 'node:fs/promises'
import { dirname, isAbsolute, relative } from 'node:path'
import {
  type AnyDriver,
  BlockError,
  type BlockNode,
  DriverRegistry,
  fromHostError,
  memory,
  memoryFromBytes,
  type NodeOptions,
  nullCo,
  type OpenEnvironment,
  type OpenHost,
  parseOptions,
} from '@vmblock/block-core'
import { file, nodeHost } from '@vmblock/block-core/node'
import { qcow2 } from '@vmblock/qcow2'
import { qed } from '@vmblock/qed'
import { raw } from '@vmblock/raw'
import type { OpenedPlace, SourceKit } from './open-source.ts'
import type { FileSource, MemorySource, OverlaySource, PlaceSource } from './source.ts'
import { checkDiskSize, type V86Disk, type V86DiskOptions } from './v86-disk.ts'
import { diskOfSource } from './v86-disk-of.ts'

/** What a disk in Node may be made of; a string is a path. */
export type NodeDiskSource = string | FileSource | MemorySource | OverlaySource | BlockNode | NodeOptions

/** How disks in Node are opened. */
export interface NodeDiskOptions extends V86DiskOptions {
  /** What images may name. Default: each image regular files of its own directory, and what is below it. */
  readonly host?: OpenHost
}

/** Each image may name what lies beside it. */
const besideHost: OpenHost = {
  resolve: (reference, parent, role) =>
    nodeHost({ directory: dirname(parent) }).resolve(reference, parent, role),
}

/** The drivers of this entry, and a host: for nodes that are opened beside the disks. */
export const nodeEnvironment = (host: OpenHost = besideHost): OpenEnvironment => ({
  registry: new DriverRegistry([raw, qcow2, qed, file, memory, nullCo]),
  host,
})

/**
 * A disk for v86 in Node: `new V86({ hda: await v86Disk('disk.qcow2') })`, `await v86Disk({ file: 'new.qcow2', size: '2G' })`,
 * `await v86Disk({ overlay: { file: 'mine.qcow2' }, base: { file: 'base.img' } })`.
 *
 * @throws BlockError of opening, and of making images; EINVAL for a size that is not made of sectors; EFBIG from 2 TiB on
 */
export async function v86Disk(source: NodeDiskSource, options: NodeDiskOptions = {}): Promise<V86Disk> {
  const { host, ...settings } = options
  const kit: SourceKit = {
    environment: nodeEnvironment(host),
    imageDriver: qcow2 as AnyDriver,
    place: placeOf,
    checkSize: checkDiskSize,
  }
  return diskOfSource(kit, typeof source === 'string' ? { file: source } : source, settings)
}

function placeOf(source: PlaceSource): OpenedPlace {
  if ('file' in source) return filePlace(source.file)
  if (!('memory' in source))
    throw new BlockError('ENOTSUP', `the place is one for browsers: { ${Object.keys(source).join(', ')} }`)
  const content = source.memory
  return {
    bytes:
      typeof content === 'number'
        ? { driver: 'memory', size: content }
        : memoryFromBytes(content, { readOnly: source.readOnly ?? false }),
    readOnly: source.readOnly ?? false,
  }
}

function filePlace(filename: string): OpenedPlace {
  return {
    bytes: { driver: 'file', filename },
    readOnly: false,
    nameFrom(overlay) {
      if (typeof overlay !== 'object' || !('file' in overlay)) return undefined
      return isAbsolute(filename) ? filename : relative(dirname(overlay.file), filename)
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
