/** Turns a {@link DiskSource} into an open node: finds or creates images, puts overlays over bases. */
import {
  type AnyDriver,
  BlockError,
  type BlockNode,
  type CreatedPlace,
  formatImage,
  isBlockNode,
  memoryFromBytes,
  type NodeOptions,
  type OpenEnvironment,
  openNode,
  parseOptions,
  size,
} from '@vmblock/block-core'
import { requireSource } from './check-source.ts'
import type { DiskSource, OverlaySource, PlaceOptions, PlaceSource } from './source.ts'

/** A place that an entry can open: a file, a URL, a name in the browser's storage. */
export interface OpenedPlace {
  /** The node of the place's bytes: options, or an open node. */
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
  create?(): Promise<CreatedPlace | undefined>
}

/** The parts that an entry provides: its drivers and its places. */
export interface SourceKit {
  readonly environment: OpenEnvironment
  /** The driver of images that are created: qcow2. */
  readonly imageDriver: AnyDriver
  /** Opens a place. @throws BlockError ENOTSUP for a place of another entry */
  place(source: PlaceSource): OpenedPlace
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

const PLACES = ['file', 'blob', 'url', 'opfs', 'indexeddb', 'memory']

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
  if (isPlace(source)) return placeOptions(kit, source, made)
  return source
}

const isOverlay = (source: DiskSource): source is OverlaySource => 'overlay' in source && 'base' in source

/** `{ driver, file }` are the options of a node: there `file` is a child. */
const isPlace = (source: DiskSource): source is PlaceSource =>
  !('driver' in source) && PLACES.some((key) => key in source)

async function placeOptions(kit: SourceKit, source: PlaceSource, made: Made): Promise<NodeOptions> {
  const place = kit.place(source)
  const { format, readOnly, size: given } = source as PlaceOptions
  const bytes = bytesOf(kit, given)
  if (bytes !== undefined && (await isMissing(place))) await makeImage(kit, place, { size: bytes }, made)
  return {
    ...SPARSE,
    ...(format !== undefined && { driver: format }),
    file: place.bytes,
    'read-only': readOnly === true || place.readOnly,
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
  const place: OpenedPlace = isInMemory ? await inMemory(kit) : kit.place(overlay)
  if (place.readOnly) throw new BlockError('EACCES', 'an overlay is written to, and its place is read-only')
  if (await isMissing(place)) {
    const node = isBlockNode(backing) ? backing : await openNode(kit.environment, backing)
    try {
      const wanted = bytes ?? node.size
      kit.checkSize?.(wanted)
      const basePlace = !isBlockNode(base) && isPlace(base) ? kit.place(base) : undefined
      const name = basePlace?.nameFrom?.(overlay)
      const named = name === undefined ? {} : { backingFile: name, backingFmt: node.driver.name }
      await makeImage(kit, place, { size: wanted, ...named }, made)
    } finally {
      if (node !== backing) await node.close()
    }
  }
  return { ...SPARSE, driver: kit.imageDriver.name, file: place.bytes, backing }
}

/** The options of a base, which is opened read-only. */
async function baseOptions(
  kit: SourceKit,
  base: PlaceSource | OverlaySource,
  made: Made,
): Promise<NodeOptions> {
  return { ...(await optionsOf(kit, base, made)), 'read-only': true }
}

async function inMemory({ environment }: SourceKit): Promise<OpenedPlace> {
  return {
    bytes: await openNode(environment, { driver: 'memory' }),
    readOnly: false,
    exists: () => Promise.resolve(false),
    create: () => Promise.resolve(undefined),
  }
}

const isMissing = async (place: OpenedPlace): Promise<boolean> =>
  place.exists !== undefined && !(await place.exists())

/** Makes the image in memory, and writes it in one request: a page that dies leaves no partial image. */
async function makeImage(
  { environment, imageDriver }: SourceKit,
  place: OpenedPlace,
  options: { readonly size: number } & NodeOptions,
  made: Made,
): Promise<void> {
  if (!place.create) throw new BlockError('ENOTSUP', 'no image can be made in this place')
  const draft = memoryFromBytes(new Uint8Array(0))
  await formatImage(imageDriver, draft, { lazyRefcounts: true, ...options })
  const content = new Uint8Array(draft.size)
  await draft.read(0, content)
  const created = await place.create()
  // A file that existed was empty, and is emptied again.
  made.push(created ? () => created.remove() : async () => void (await place.create!()))
  const node = isBlockNode(place.bytes) ? place.bytes : await openNode(environment, place.bytes)
  try {
    await node.write(0, content)
    await node.flush()
  } catch (error) {
    // Closing would try the failed writes again.
    if (node !== place.bytes) await node.crash()
    throw error
  }
  if (node !== place.bytes) await node.close()
}
