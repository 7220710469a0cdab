/**
 * Disks for v86 in browsers: picked files, web servers, the storage of the page's origin, and overlays on any
 * of them; and their export as a file to download. Besides node-js.ts, the only file that names drivers.
 * @module
 */
import {
  type AnyDriver,
  BlockError,
  type BlockNode,
  type CheckReport,
  DriverRegistry,
  denyHost,
  type ImageResolver,
  isBlockError,
  memory,
  type NodeOptions,
  nullCo,
  type OpenEnvironment,
  openMemory,
  openNode,
} from '@vmblock/block-core'
import { blob, http, indexedDb, opfs } from '@vmblock/block-core/browser'
import { requireCallback, requireFlag, requireText } from '@vmblock/block-core/driver'
import { formats } from '@vmblock/formats'
import { qcow2 } from '@vmblock/qcow2'
import type { BufferedDisk } from './disk/buffered-disk.ts'
import { exportInto, requireExportOptions } from './export/export-image.ts'
import {
  type ExportedImage,
  type ExportFileOptions,
  exportToFile,
  removeLeftovers,
} from './export/exported-file.ts'
import { type EventSource, flushOn } from './machine/flush-on.ts'
import { checkDiskSize, requireV86Options, type V86Disk, type V86DiskOptions } from './machine/v86-disk.ts'
import { diskOfSource } from './machine/v86-disk-of.ts'
import { contentOf, requireDisk, requireResolver, requireWorker } from './sources/check-source.ts'
import type { SourceFile, SourceKit } from './sources/open-source.ts'
import type {
  BlobSource,
  DiskSource,
  ImageSource,
  IndexedDbSource,
  MemorySource,
  OpfsSource,
  OverlaySource,
  UrlSource,
} from './sources/source.ts'

export type { ExportFormat, ExportOptions } from './export/export-image.ts'
export type { ExportedImage, ExportFileOptions } from './export/exported-file.ts'

/** The sources of a disk in a browser; a string is a URL. */
export type BrowserDiskSource =
  | string
  | URL
  | Blob
  | BlobSource
  | UrlSource
  | OpfsSource
  | IndexedDbSource
  | MemorySource
  | OverlaySource
  | BlockNode
  | NodeOptions

/** Options of disks in browsers. */
export interface BrowserDiskOptions extends V86DiskOptions {
  /** Which files images may open. Default: none. */
  readonly host?: ImageResolver
  /** Whether to flush when the page is hidden, frozen or left, if there is a page. Default: yes. */
  readonly flushOnHide?: boolean
  /** Called after every repair of an image at opening, for instance because its tab was killed. */
  readonly onRepair?: (report: CheckReport, nodeName: string) => void
}

/** The drivers of this entry, and an `ImageResolver`: to open nodes besides the disks. */
export const browserEnvironment = (
  options: Pick<BrowserDiskOptions, 'host' | 'onRepair'> = {},
): OpenEnvironment => ({
  registry: new DriverRegistry([...formats, blob, http, opfs, indexedDb, memory, nullCo]),
  host: options.host ?? denyHost,
  ...(options.onRepair && { onRepair: options.onRepair }),
})

const kitOf = (environment: OpenEnvironment): SourceKit => ({
  environment,
  imageDriver: qcow2 as AnyDriver,
  fileOf: (source) => fileOf(environment, source),
  checkSize: checkDiskSize,
})

/**
 * Opens a disk for v86 in a browser: `new V86({ hda: await v86Disk('/disk.qcow2') })`,
 * `await v86Disk({ opfs: 'disk.qcow2', size: '2G' })`,
 * `await v86Disk({ overlay: { opfs: 'mine.qcow2' }, base: { url: '/disk.qcow2' } })`.
 *
 * @throws BlockError of opening, and of creating images; EBUSY for a disk that another tab has open; EINVAL
 * for a size that is not a multiple of the sector size; EFBIG from 2 TiB on
 */
export async function v86Disk(source: BrowserDiskSource, options: BrowserDiskOptions = {}): Promise<V86Disk> {
  requireV86Options(options, {
    host: requireResolver,
    flushOnHide: requireFlag,
    onRepair: requireCallback,
  })
  const { host, onRepair, flushOnHide = true, ...settings } = options
  const environment = browserEnvironment({ ...(host && { host }), ...(onRepair && { onRepair }) })
  const disk = await diskOfSource(kitOf(environment), plainSource(source), settings)
  if (flushOnHide) flushOnPageHide(disk)
  return disk
}

/**
 * Exports a disk to a file for the user to download: the whole disk as `qcow2` or `raw`, or the image file
 * `as-is`. The disk stays in use, and the file shows it as it was at the call. The file is a copy in the
 * origin private file system: it needs room there (a raw one the size of the disk) until it is removed, and
 * memory for a few pieces.
 *
 * @throws BlockError ENOSPC for the quota, ENOTSUP without OPFS, and as the disk or the file fails; then no file is
 * left behind
 */
export async function exportImage(
  disk: BufferedDisk,
  options: ExportFileOptions = {},
): Promise<ExportedImage> {
  requireDisk(disk, 'disk')
  requireExportOptions(options, { name: requireText, worker: requireWorker })
  const { format = 'qcow2', name = defaultName(disk, format), worker, ...rest } = options
  const kit = kitOf(browserEnvironment())
  return exportToFile(kit, { name, worker }, (file) => exportInto(kit, disk, file, { format, ...rest }))
}

function defaultName({ node }: BufferedDisk, format: NonNullable<ExportFileOptions['format']>): string {
  if (format !== 'as-is') return `disk.${format}`
  return `${node.backing ? 'overlay' : 'disk'}.${node.driver.name}`
}

/** Flushes when the page is hidden, if there is a page: workers have no such events. */
function flushOnPageHide(disk: V86Disk): void {
  const { document, addEventListener } = globalThis as { document?: EventSource; addEventListener?: unknown }
  if (!document) return
  flushOn(disk, document, 'visibilitychange', 'freeze')
  if (addEventListener) flushOn(disk, globalThis as unknown as EventSource, 'pagehide')
}

function plainSource(source: BrowserDiskSource): DiskSource {
  // No instanceof: objects of other realms (frames) are not instances here.
  const { href, arrayBuffer } = (source ?? {}) as { href?: unknown; arrayBuffer?: unknown }
  if (typeof source === 'string' || typeof href === 'string') return { url: source as string | URL }
  if (typeof arrayBuffer === 'function') return { blob: source as Blob }
  return source as DiskSource
}

function fileOf(environment: OpenEnvironment, source: ImageSource): SourceFile {
  if ('blob' in source) return { bytes: { driver: 'blob', blob: source.blob }, readOnly: true }
  if ('url' in source) return urlFile(source)
  if ('opfs' in source) return opfsFile(environment, source)
  if ('indexeddb' in source) {
    const { indexeddb: filename, lockTimeout } = source
    const bytes = { driver: 'indexeddb', filename, ...(lockTimeout !== undefined && { lockTimeout }) }
    const create: SourceFile['create'] = () =>
      indexedDb.createFile!({ filename, lockTimeout: lockTimeout ?? 2000 }, 0, 'off')
    return { bytes, readOnly: false, exists: () => holdsAnything(environment, bytes), create }
  }
  if (!('memory' in source))
    throw new BlockError(
      'ENOTSUP',
      `the place is not one for browsers: { ${Object.keys(source).join(', ')} }`,
    )
  const { readOnly = false } = source
  const content = contentOf(source)
  const bytes =
    typeof content === 'number' ? { driver: 'memory', size: content } : openMemory(content, { readOnly })
  return { bytes, readOnly }
}

function urlFile({ url, readAhead, cacheSize, ...rest }: UrlSource): SourceFile {
  const { timeout, retries, ignoreValidators, fetch } = rest
  const options = { readahead: readAhead, 'cache-size': cacheSize, timeout, retries, ignoreValidators, fetch }
  const given = Object.entries(options).filter(([, value]) => value !== undefined)
  return { bytes: { driver: 'http', url: String(url), ...Object.fromEntries(given) }, readOnly: true }
}

function opfsFile(environment: OpenEnvironment, source: OpfsSource): SourceFile {
  const { opfs: filename, lockTimeout = 2000, worker } = source
  const bytes = { driver: 'opfs', filename, 'lock-timeout': lockTimeout, ...(worker && { worker }) }
  const create: SourceFile['create'] = () => opfs.createFile!({ filename, lockTimeout, worker }, 0, 'off')
  void removeLeftovers()
  return { bytes, readOnly: false, exists: () => holdsAnything(environment, bytes), create }
}

/** Whether there is a disk. A file without bytes is left from a creation that was interrupted. */
async function holdsAnything(environment: OpenEnvironment, bytes: NodeOptions): Promise<boolean> {
  let node: BlockNode
  try {
    node = await openNode(environment, { ...bytes, 'read-only': true })
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
