/** From a {@link DiskSource} to an open node: images are found or made, overlays are put over their bases. */
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

/** A place that an entry knows how to reach. */
export interface OpenedPlace {
  /** The node of its bytes: options, or an open node. */
  readonly bytes: NodeOptions | BlockNode
  readonly readOnly: boolean
  /** What the header of an overlay there may call it, for other programs. Absent, or undefined: nothing. */
  nameFrom?(overlay: OverlaySource['overlay']): string | undefined
  /** Whether there is anything. Absent: there is. */
  exists?(): Promise<boolean>
  /**
   * Makes it, empty. Absent: nothing can be made there.
   *
   * @returns what takes it back, when no image could be made; nothing for a place that was there before
   */
  create?(): Promise<CreatedPlace | undefined>
}

/** What an entry brings: its drivers, and its places. */
export interface SourceKit {
  readonly environment: OpenEnvironment
  /** The driver of images that are made: qcow2. */
  readonly imageDriver: AnyDriver
  /** @throws BlockError ENOTSUP for a place of another entry */
  place(source: PlaceSource): OpenedPlace
  /** Judges the size of a disk, in bytes, before an image is made for it. Absent: any size is good. @throws BlockError */
  checkSize?(bytes: number): void
}

/** What was made for a disk so far, last first, to be taken back if there will be no disk. */
type Made = (() => Promise<void>)[]

/** A disk that was opened. */
export interface OpenedSource {
  readonly node: BlockNode
  /** It was opened here. */
  readonly isOwn: boolean
  /** Removes the images that were made for it, once the node is closed: no disk came of it. What was there before stays. */
  undo(): Promise<void>
}

const PLACES = ['file', 'blob', 'url', 'opfs', 'indexeddb', 'memory']

/** Discards free space, and zeroes take none: disks in browsers are counted by their size. */
const SPARSE = { discard: 'unmap', 'detect-zeroes': 'unmap' }

/**
 * Opens a disk.
 *
 * @throws BlockError of opening, and of making images; what was made is removed then
 */
export async function openSource(kit: SourceKit, source: DiskSource): Promise<OpenedSource> {
  requireSource(source)
  const made: Made = []
  // What cannot be removed is empty: the next attempt takes it for what was only begun.
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

/** A size that was given, in bytes; a wrong one is refused also where there is an image already. @throws BlockError EINVAL, EFBIG */
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

/** Nobody writes to a base. */
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

/** The image is made in memory, and written in one go: a page that dies meanwhile leaves no half of one. */
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
  // A place that was there was empty, and is made empty again.
  made.push(created ? () => created.remove() : async () => void (await place.create!()))
  const node = isBlockNode(place.bytes) ? place.bytes : await openNode(environment, place.bytes)
  try {
    await node.write(0, content)
    await node.flush()
  } catch (error) {
    // What could not be written must not be tried again by closing it.
    if (node !== place.bytes) await node.crash()
    throw error
  }
  if (node !== place.bytes) await node.close()
}
