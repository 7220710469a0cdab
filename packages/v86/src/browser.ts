/**
 * Disks for v86 in browsers: picked files, web servers, the storage of the page's origin, and overlays on any
 * of them; and their export as a file to download.
 * @module
 */
import type { CheckReport, ImageResolver, OpenEnvironment } from '@vmblock/block-core'
import { requireCallback, requireFlag, requireText } from '@vmblock/block-core/driver'
import { requireResolver, requireWorker, type SourceKit } from '@vmblock/sources'
import { type BrowserSource, prepareSource, sourceEnvironment, sourceKit } from '@vmblock/sources/browser'
import type { BufferedDisk } from './disk/buffered-disk.ts'
import { requireDisk } from './disk/check-disk.ts'
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

export type { ExportFormat, ExportOptions } from './export/export-image.ts'
export type { ExportedImage, ExportFileOptions } from './export/exported-file.ts'

/** The sources of a disk in a browser; a string is a URL. */
export type BrowserDiskSource = BrowserSource

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
): OpenEnvironment => sourceEnvironment(options)

/** A disk in the origin private file system is an occasion to remove what exports of other pages left there. */
const tidied = (kit: SourceKit): SourceKit => ({
  ...kit,
  fileOf(source) {
    if ('opfs' in source) void removeLeftovers()
    return kit.fileOf(source)
  },
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
  const prepared = await prepareSource(source, { host, onRepair, checkSize: checkDiskSize })
  const disk = await diskOfSource({ ...prepared, kit: tidied(prepared.kit) }, settings)
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
  const kit = sourceKit(browserEnvironment())
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
