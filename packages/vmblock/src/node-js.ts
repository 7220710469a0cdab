/**
 * Virtual disks in Node.js, Bun and Deno: images of QEMU's formats are opened, created, converted, checked and described
 * by their paths. In a page, the same names come from browser.ts.
 * @module
 */
import { loadOnce } from '@vmblock/block-core/driver'
import { allocateAligned, equalBytes, isZeroBytes } from '@vmblock/block-core/node'
import type { MeasureReport } from '@vmblock/block-core/open'
import type { Allow } from '@vmblock/sources'
import { prepareSource, resolverOf } from '@vmblock/sources/node'
import type { VirtualDisk } from './disk/virtual-disk.ts'
import type { CheckResult } from './images/check-image.ts'
import type { DiskInfo } from './images/describe.ts'
import type { CheckOptions } from './operations/check-source.ts'
import type { ConvertOptions } from './operations/convert.ts'
import type { CreateOptions } from './operations/create.ts'
import type { InfoOptions } from './operations/describe-source.ts'
import type { MeasureOptions } from './operations/measure.ts'
import { type OpenOptions, openDisk } from './operations/open.ts'
import type { Platform } from './platform/platform.ts'
import type { Source, Target } from './platform/source.ts'

export * from './both.ts'

const platform: Platform = {
  resolverOf: (allow) => resolverOf(allow as Allow),
  prepareSource: (source, settings) => prepareSource(source as never, settings),
  copying: { isZero: isZeroBytes, equal: equalBytes, allocate: allocateAligned },
}

/** @throws BlockError EIO if the code cannot be loaded */
const loadOperations = loadOnce(
  'creating, converting and checking images',
  () => import('./operations/index.ts'),
)

/**
 * Opens a disk: `await open('disk.qcow2')`. An image that was not closed is repaired first,
 * unless it is opened only for reading.
 *
 * @throws BlockError EINVAL for what is no source, or a wrong option, by its name; ENOENT, EACCES, EBUSY as opening the
 *   file does; EFORMAT, ECORRUPT, ENOTSUP for images that cannot be used; EACCES for files that the image names and that
 *   `allow` does not let it open; the reason of the signal
 */
export async function open(source: Source, options: OpenOptions = {}): Promise<VirtualDisk> {
  return openDisk(platform, source, options)
}

/**
 * Makes an image: `await create('disk.qcow2', { size: '2G' })`,
 * `await create('mine.qcow2', { backing: 'base.qcow2' })`. If it fails, nothing is left behind.
 *
 * @throws BlockError EINVAL for wrong options, and for a name that does not tell the format; EEXIST if there is a file
 *   with data, and `overwrite` was not given; EBUSY if it is in use; ENOTSUP where nothing can be made; errors of opening
 *   the backing file, and of writing; the reason of the signal
 */
export async function create(target: Target, options: CreateOptions): Promise<void> {
  await (await loadOperations()).createDisk(platform, target, options)
}

/**
 * Copies a disk, with everything that shows through from its backing files, into a new image. Zeroes take no room there;
 * with `backing`, nothing does that this file has as well. Writes to an open disk wait meanwhile: the copy is the disk at
 * one moment. If it fails, or is aborted, the new image is removed.
 *
 * @throws BlockError as {@link open} and {@link create}; EIO, ENOSPC while copying; the reason of the signal
 */
export async function convert(source: Source, target: Target, options: ConvertOptions = {}): Promise<void> {
  await (await loadOperations()).convertDisk(platform, source, target, options)
}

/**
 * Checks the structure of an image, and repairs it if that is asked for. Its backing file is not looked at.
 *
 * @throws BlockError as {@link open}; ENOTSUP for formats without checks (raw); the reason of the signal
 */
export async function check(source: Source, options: CheckOptions = {}): Promise<CheckResult> {
  return (await loadOperations()).checkSource(platform, source, options)
}

/**
 * Describes an image. Neither its backing file nor, for an encrypted one, a key is needed.
 *
 * @throws BlockError as {@link open}
 */
export async function info(source: Source, options: InfoOptions = {}): Promise<DiskInfo> {
  return (await loadOperations()).describeSource(platform, source, options)
}

/**
 * Says how many bytes the file of a new image would take, now and when all of it has been written: empty
 * (`await measure({ size: '100G' })`), or as a copy of a source. Nothing is made.
 *
 * @throws BlockError as {@link open} for the source; EINVAL for wrong options; ENOTSUP for formats that cannot say (qed);
 *   EFBIG if there can be no such image
 */
export async function measure(options: MeasureOptions): Promise<MeasureReport> {
  return (await loadOperations()).measureDisk(platform, options)
}
