/** Exports a disk as one file for other programs: copies it into a node, while the guest's writes wait. */
import {
  BlockError,
  type BlockNode,
  CopyMap,
  type CopyOptions,
  copyNodes,
  formatImage,
  Job,
  type OpenEnvironment,
  openNode,
  skipFilters,
} from '@vmblock/block-core'
import {
  type Check,
  isZero,
  oneOfWords,
  pathName,
  protocolOf,
  requireCallback,
  requireNode,
  requireOptions,
  requireSignal,
  requireText,
} from '@vmblock/block-core/driver'
import type { SourceKit } from '@vmblock/sources'
import type { BufferedDisk } from '../disk/buffered-disk.ts'
import { requireDisk } from '../disk/check-disk.ts'
import { requireEmulator, type SavableEmulator } from '../machine/save-state.ts'

/**
 * `qcow2`, `raw`: the whole disk, including its bases. `as-is`: the image file itself; of an overlay only the
 * data written over its base.
 */
export type ExportFormat = 'qcow2' | 'raw' | 'as-is'

const FORMATS: readonly ExportFormat[] = ['qcow2', 'raw', 'as-is']

/** Options of an export. */
export interface ExportOptions {
  /** The format of the copy. Default: `qcow2`. */
  readonly format?: ExportFormat
  /**
   * The backing file name in an overlay exported `as-is`: the base's later path, relative to the exported
   * file. Default: unchanged; an overlay made in a browser names none.
   */
  readonly backingFile?: { readonly name: string; readonly format: string }
  /** A `V86` to pause meanwhile. Without it, the guest runs until it flushes or the write buffer is full. */
  readonly emulator?: Pick<SavableEmulator, 'is_running' | 'run' | 'stop'>
  /** Aborts the export; the copy is unusable then. */
  readonly signal?: AbortSignal
  /** Reports progress: bytes done and bytes in total. */
  readonly onProgress?: (done: number, total: number) => void
}

/** Checks the options of an export, and `more`. @throws BlockError EINVAL that names a wrong one */
export const requireExportOptions = (options: unknown, more: Readonly<Record<string, Check>>): void =>
  requireOptions(options, 'options', {
    format: oneOfWords('qcow2', 'raw', 'as-is'),
    backingFile: (value, name) => {
      requireOptions(value, name, { name: requireText, format: requireText })
      const { name: file, format } = value as Record<string, unknown>
      requireText(file, `${name}.name`)
      requireText(format, `${name}.format`)
    },
    emulator: requireEmulator,
    signal: requireSignal,
    onProgress: requireCallback,
    ...more,
  })

/** Bytes of a piece of the copy, and pieces in flight: together they bound its memory. */
const PIECE = 2 ** 20
const PARALLEL = 4
/** Shortest run of zeroes that is left out of data, in bytes: a page. */
const SPARSE = 4096

/**
 * Copies a disk, as it is at one moment, into an open, empty, growable node: the copy has everything the
 * guest wrote before the call, and nothing it writes later. For a clean file system in the copy, unmount it
 * in the guest first, or sync and pause the guest.
 *
 * @throws BlockError EBUSY if the node is in use, EEXIST if it is not empty; errors of the disk's flush, of
 * reading, of writing (ENOSPC); ENOTSUP for `as-is` of an image in several files, EINVAL for a backing file
 * if the format has none; the reason of an aborted signal
 */
export async function exportInto(
  kit: Pick<SourceKit, 'environment' | 'imageDriver'>,
  disk: BufferedDisk,
  file: BlockNode,
  options: ExportOptions = {},
): Promise<void> {
  requireDisk(disk, 'disk')
  requireNode(file, 'file')
  requireExportOptions(options, {})
  const { format = 'qcow2', backingFile, emulator } = options
  if (!FORMATS.includes(format))
    throw new BlockError('EINVAL', `a disk is exported as ${FORMATS.join(', ')}, not as '${format}'`)
  if (backingFile && format !== 'as-is')
    throw new BlockError(
      'EINVAL',
      `an image that is exported as '${format}' holds everything: it has no backing file`,
    )
  if (file.hasParents)
    throw new BlockError('EBUSY', `'${file.filename || file.name}' is open: nothing can be exported into it`)
  if (format !== 'qcow2' && file.size > 0)
    throw new BlockError('EEXIST', `'${file.filename || file.name}' is not empty: an export would replace it`)
  const wasRunning = emulator?.is_running() === true
  if (wasRunning) await emulator.stop()
  try {
    if (!disk.readOnly) await disk.flush()
    await disk.node.withoutWrites(async () => {
      // For writes that arrived in between and are not in the file yet.
      if (!disk.readOnly) await disk.node.flush()
      if (format === 'as-is') await exportFile(disk.node, file, options)
      else if (format === 'raw') await exportRaw(disk.node, file, options)
      else await exportQcow2(kit, disk.node, file, options)
    })
    if (format === 'as-is') await makeSound(kit, disk.node, file, backingFile)
    await file.flush()
  } finally {
    if (wasRunning) await emulator.run()
  }
}

async function exportRaw(source: BlockNode, file: BlockNode, options: ExportOptions): Promise<void> {
  await file.truncate(source.size)
  await copy(source, file, options)
}

async function exportQcow2(
  { environment, imageDriver }: Pick<SourceKit, 'environment' | 'imageDriver'>,
  source: BlockNode,
  file: BlockNode,
  options: ExportOptions,
): Promise<void> {
  await formatImage(imageDriver, file, { size: source.size })
  const image = await openNode(environment, { driver: imageDriver.name, file, discard: 'unmap' })
  try {
    await copy(source, image, options)
  } catch (error) {
    await image.crash()
    throw error
  }
  await image.close()
}

/** Copies the bytes of the image file. */
async function exportFile(source: BlockNode, file: BlockNode, options: ExportOptions): Promise<void> {
  const image = skipFilters(source)
  if (image.children.has('data-file'))
    throw new BlockError('ENOTSUP', 'the image has its data in a second file: export it as qcow2 or raw')
  await exportRaw(image.file?.node ?? image, file, options)
}

/**
 * Makes the copy of an open image consistent: it may be marked dirty, with stale refcounts; opening it
 * repairs it, and closing it leaves it clean. Its base is not needed for that.
 */
async function makeSound(
  { environment }: Pick<SourceKit, 'environment'>,
  source: BlockNode,
  file: BlockNode,
  backingFile: ExportOptions['backingFile'],
): Promise<void> {
  const { driver, readOnly } = skipFilters(source)
  const canCheck = skipFilters(source).can('check')
  if (readOnly && !backingFile) return
  if (!canCheck) {
    if (backingFile) throw new BlockError('EINVAL', `an image of format '${driver.name}' has no backing file`)
    return
  }
  const backing = driver.children?.['backing'] ? { backing: null } : {}
  const image = await openNode(environment, { driver: driver.name, file, ...backing })
  let end: number | undefined
  try {
    if (backingFile)
      await image.changeBackingFile(headerName(environment, backingFile.name), backingFile.format)
    end = (await image.check()).imageEndOffset
  } finally {
    await image.close()
  }
  // Images with lazy refcounts grow their file in large steps, ahead of their writes.
  if (end !== undefined && end < file.size) await file.truncate(end)
}

/** Writes a path with a colon so that no program takes it for a protocol; real protocols stay. */
function headerName({ registry }: OpenEnvironment, name: string): string {
  const protocol = protocolOf(name)
  const isPath = protocol !== undefined && protocol !== 'json' && !registry.byPrefix(protocol)
  return isPath && !name.startsWith(`${protocol}://`) ? pathName(name) : name
}

async function copy(source: BlockNode, target: BlockNode, options: ExportOptions): Promise<void> {
  const { signal, onProgress } = options
  const map = await CopyMap.of({ sources: [{ node: source }] })
  const how: CopyOptions = {
    map,
    target,
    zeroes: 'skip',
    sparse: { minimum: SPARSE, alignment: SPARSE, isZero },
    pieceBytes: PIECE,
    parallel: PARALLEL,
  }
  await new Job((control) => copyNodes(how, control), { signal, onProgress }).done
}
