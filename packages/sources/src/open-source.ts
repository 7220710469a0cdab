/** Turns a {@link DiskSource} into an open node: finds or creates images, puts overlays over bases. */
import {
  type AnyDriver,
  BlockError,
  type BlockNode,
  createImage,
  isBlockNode,
  type NodeOptions,
  type OpenEnvironment,
  openNode,
} from '@vmblock/block-core'
import { parseOptions, size } from '@vmblock/block-core/driver'
import { requireSource } from './check-source.ts'
import type { DiskSource, ImageSource, OverlaySource, SourceOptions } from './source.ts'

/** The file behind a source: a file, a URL, a name in the browser's storage. */
export interface SourceFile {
  /** The node of its bytes: options, or an open node. */
  readonly bytes: NodeOptions | BlockNode
  readonly readOnly: boolean
  /** Its name, which may end in that of a format (`disk.qcow2`). Absent: it has none. */
  readonly name?: string
  /** The name of this base for the header of an overlay, for other programs. Absent, or undefined: none. */
  nameFrom?(overlay: OverlaySource['overlay']): string | undefined
  /** Whether there is an image. Absent: there is, and none can be made. */
  exists?(): Promise<boolean>
}

/** The parts that an entry provides: its drivers and its sources. */
export interface SourceKit {
  readonly environment: OpenEnvironment
  /** The driver of images that are created: qcow2. */
  readonly imageDriver: AnyDriver
  /** The file behind a source. @throws BlockError ENOTSUP for a source of another entry */
  fileOf(source: ImageSource): SourceFile
  /**
   * Checks the size of a disk, in bytes, before an image is created for it. Absent: any size is valid.
   * @throws BlockError
   */
  checkSize?(bytes: number): void
}

/** Functions that remove the images created so far; called in reverse order if opening fails. */
type Made = (() => Promise<void>)[]

/** An opened source. */
export interface OpenedSource {
  readonly node: BlockNode
  /** Whether the node was opened here. */
  readonly isOwn: boolean
  /**
   * Removes the images that were created for it, after the node was closed, if no disk could be made. Images
   * that existed before stay.
   */
  undo(): Promise<void>
}

const KEYS = ['file', 'blob', 'url', 'opfs', 'indexeddb', 'memory']

/** Discards are passed on, and zeroes take no space: browsers count file sizes against the quota. */
const SPARSE = { discard: 'unmap', 'detect-zeroes': 'unmap' }

/**
 * Opens the node of a disk.
 *
 * @param more options of the node that is opened, beside those of the source; none count for an open node
 * @throws BlockError of opening, and of creating images; created images are removed then
 */
export async function openSource(
  kit: SourceKit,
  source: DiskSource,
  more: NodeOptions = {},
): Promise<OpenedSource> {
  requireSource(source)
  const made: Made = []
  // A file that cannot be removed is empty: the next attempt takes it for an interrupted creation.
  const undo = async (): Promise<void> => {
    for (const remove of made.splice(0).reverse()) await remove().catch(() => undefined)
  }
  if (isBlockNode(source)) return { node: source, isOwn: false, undo }
  try {
    const options = await optionsOf(kit, source, made)
    return { node: await openNode(kit.environment, { ...options, ...more }), isOwn: true, undo }
  } catch (error) {
    await undo()
    throw error
  }
}

/**
 * The file that a target names, for `createImage`. Nothing is opened.
 *
 * @throws BlockError EINVAL for what holds no image: an overlay, the options of a node; EACCES for what is only read;
 *   ENOTSUP for a source of another entry
 */
export function fileOfTarget(kit: SourceKit, target: DiskSource, what = 'target'): SourceFile {
  requireSource(target, what)
  if (!isBlockNode(target) && (isOverlay(target) || !isImageSource(target)))
    throw new BlockError('EINVAL', `Parameter '${what}' must be a file, not options of a node or an overlay`)
  const file = isBlockNode(target) ? fileOfNode(target) : kit.fileOf(target)
  if (file.readOnly || !file.exists)
    throw new BlockError('EACCES', `Parameter '${what}' is read-only: no image can be made there`)
  return file
}

const fileOfNode = (node: BlockNode): SourceFile => ({
  bytes: node,
  readOnly: node.readOnly,
  name: node.filename,
  exists: () => Promise.resolve(node.size > 0),
})

async function optionsOf(
  kit: SourceKit,
  source: Exclude<DiskSource, BlockNode>,
  made: Made,
): Promise<NodeOptions> {
  if (isOverlay(source)) return overlayOptions(kit, source, made)
  if (isImageSource(source)) return imageOptions(kit, source, made)
  return source
}

const isOverlay = (source: DiskSource): source is OverlaySource => 'overlay' in source && 'base' in source

/** `{ driver, file }` are the options of a node: there `file` is a child. */
const isImageSource = (source: DiskSource): source is ImageSource =>
  !('driver' in source) && KEYS.some((key) => key in source)

async function imageOptions(kit: SourceKit, source: ImageSource, made: Made): Promise<NodeOptions> {
  const file = kit.fileOf(source)
  const { format, readOnly, size: given } = source as SourceOptions
  const bytes = bytesOf(kit, given)
  if (bytes !== undefined && (await isMissing(file))) await makeImage(kit, file, { size: bytes }, made)
  return {
    ...SPARSE,
    ...(format !== undefined && { driver: format }),
    file: file.bytes,
    'read-only': readOnly === true || file.readOnly,
  }
}

const SIZE = { size: size('Virtual disk size') }

/** Parses a size, to bytes, even if the image exists already. @throws BlockError EINVAL, EFBIG */
function bytesOf(kit: SourceKit, given: number | string | undefined): number | undefined {
  if (given === undefined) return undefined
  const bytes = parseOptions(SIZE, { size: given }).size!
  kit.checkSize?.(bytes)
  return bytes
}

async function overlayOptions(
  kit: SourceKit,
  { overlay, base }: OverlaySource,
  made: Made,
): Promise<NodeOptions> {
  const isInMemory = overlay === 'memory'
  const bytes = isInMemory ? undefined : bytesOf(kit, overlay.size)
  const backing = isBlockNode(base) ? base : await baseOptions(kit, base, made)
  const file: SourceFile = isInMemory ? await inMemory(kit) : kit.fileOf(overlay)
  if (file.readOnly) throw new BlockError('EACCES', 'an overlay is written to, and its file is read-only')
  if (await isMissing(file)) {
    const node = isBlockNode(backing) ? backing : await openNode(kit.environment, backing)
    try {
      const wanted = bytes ?? node.size
      kit.checkSize?.(wanted)
      const baseFile = !isBlockNode(base) && isImageSource(base) ? kit.fileOf(base) : undefined
      const name = baseFile?.nameFrom?.(overlay)
      const named = name === undefined ? {} : { backingFile: name, backingFmt: node.driver.name }
      await makeImage(kit, file, { size: wanted, ...named }, made)
    } finally {
      if (node !== backing) await node.close()
    }
  }
  return { ...SPARSE, driver: kit.imageDriver.name, file: file.bytes, backing }
}

/** The options of a base, which is opened read-only. */
async function baseOptions(
  kit: SourceKit,
  base: ImageSource | OverlaySource,
  made: Made,
): Promise<NodeOptions> {
  return { ...(await optionsOf(kit, base, made)), 'read-only': true }
}

async function inMemory({ environment }: SourceKit): Promise<SourceFile> {
  return {
    bytes: await openNode(environment, { driver: 'memory' }),
    readOnly: false,
    exists: () => Promise.resolve(false),
  }
}

const isMissing = async (file: SourceFile): Promise<boolean> =>
  file.exists !== undefined && !(await file.exists())

/** Makes an image with one write: a page that dies leaves an empty file, which is none, or a whole image. */
async function makeImage(
  { environment, imageDriver }: SourceKit,
  file: SourceFile,
  options: NodeOptions,
  made: Made,
): Promise<void> {
  const create = { driver: imageDriver, file: file.bytes, lazyRefcounts: true, ...options }
  const image = await createImage(environment, create)
  made.push(() => image.remove())
}
