/** Turns a {@link DiskSource} into an open node: finds or creates images, puts overlays over bases. */
import {
  type AnyDriver,
  BlockError,
  type BlockNode,
  type CreatedFile,
  formatImage,
  isBlockNode,
  type NodeOptions,
  type OpenEnvironment,
  openMemory,
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
  /** The name of this base for the header of an overlay, for other programs. Absent, or undefined: none. */
  nameFrom?(overlay: OverlaySource['overlay']): string | undefined
  /** Whether an image exists. Absent: it does. */
  exists?(): Promise<boolean>
  /**
   * Creates the file, empty. Absent: nothing can be created there.
   *
   * @returns an object that removes it again, if creating the image fails; undefined if it existed before
   */
  create?(): Promise<CreatedFile | undefined>
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
 * @throws BlockError of opening, and of creating images; created images are removed then
 */
export async function openSource(kit: SourceKit, source: DiskSource): Promise<OpenedSource> {
  requireSource(source)
  const made: Made = []
  // A file that cannot be removed is empty: the next attempt takes it for an interrupted creation.
  const undo = async (): Promise<void> => {
    for (const remove of made.splice(0).reverse()) await remove().catch(() => undefined)
  }
  if (isBlockNode(source)) return { node: source, isOwn: false, undo }
  try {
    const options = await optionsOf(kit, source, made)
    return { node: await openNode(kit.environment, options), isOwn: true, undo }
  } catch (error) {
    await undo()
    throw error
  }
}

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
  if (file.readOnly) throw new BlockError('EACCES', 'an overlay is written to, and its place is read-only')
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
    create: () => Promise.resolve(undefined),
  }
}

const isMissing = async (file: SourceFile): Promise<boolean> =>
  file.exists !== undefined && !(await file.exists())

/** Makes the image in memory, and writes it in one request: a page that dies leaves no partial image. */
async function makeImage(
  { environment, imageDriver }: SourceKit,
  file: SourceFile,
  options: { readonly size: number } & NodeOptions,
  made: Made,
): Promise<void> {
  if (!file.create) throw new BlockError('ENOTSUP', 'no image can be made in this place')
  const draft = openMemory(new Uint8Array(0))
  await formatImage(imageDriver, draft, { lazyRefcounts: true, ...options })
  const content = new Uint8Array(draft.size)
  await draft.read(0, content)
  const created = await file.create()
  // A file that existed was empty, and is emptied again.
  made.push(created ? () => created.remove() : async () => void (await file.create!()))
  const node = isBlockNode(file.bytes) ? file.bytes : await openNode(environment, file.bytes)
  try {
    await node.write(0, content)
    await node.flush()
  } catch (error) {
    // Closing would try the failed writes again.
    if (node !== file.bytes) await node.crash()
    throw error
  }
  if (node !== file.bytes) await node.close()
}
