/**
 * Disks for v86 in Node.js: of paths, URLs, overlays, and options of block nodes.
 * @module
 */
import type { ImageResolver, OpenEnvironment } from '@vmblock/block-core'
import { requireResolver } from '@vmblock/sources'
import { type NodeJsSource, prepareSource, sourceEnvironment } from '@vmblock/sources/node'
import { checkDiskSize, requireV86Options, type V86Disk, type V86DiskOptions } from './machine/v86-disk.ts'
import { diskOfSource } from './machine/v86-disk-of.ts'

/** The sources of a disk in Node.js; a string is a path, a `URL` is of a file, or of a file on a web server. */
export type NodeJsDiskSource = NodeJsSource

/** Options of disks in Node.js. */
export interface NodeJsDiskOptions extends V86DiskOptions {
  /** Which files images may open. Default: regular files in the image's own directory and below it. */
  readonly host?: ImageResolver
}

/** The drivers of files, and an `ImageResolver`: to open nodes besides the disks. */
export const nodeJsEnvironment = (host?: ImageResolver): OpenEnvironment => sourceEnvironment({ host })

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
  return diskOfSource(await prepareSource(source, { host, checkSize: checkDiskSize }), settings)
}
