/** From a {@link DiskSource} to an open node: images are found or made, overlays are put over their bases. */
import {
  type AnyDriver,
  BlockError,
  type BlockNode,
  formatImage,
  isBlockNode,
  memoryFromBytes,
  type NodeOptions,
  type OpenEnvironment,
  openNode,
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
  /** Makes it, empty. Absent: nothing can be made there. */
  create?(): Promise<void>
  /** Takes back {@link create}, when no image could be made. */
  remove?(): Promise<void>
}

/** What an entry brings: its drivers, and its places. */
export interface SourceKit {
  readonly environment: OpenEnvironment
  /** The driver of images that are made: qcow2. */
  readonly imageDriver: AnyDriver
  /** @throws BlockError ENOTSUP for a place of another entry */
  place(source: PlaceSource): OpenedPlace
}

const PLACES = ['file', 'blob', 'url', 'opfs', 'indexeddb', 'memory']

/** Discards free space, and zeroes take none: disks in browsers are counted by their size. */
const SPARSE = { discard: 'unmap', 'detect-zeroes': 'unmap' }

/**
 * Opens a disk.
 *
 * @returns the node, and whether it was opened here
 * @throws BlockError of opening, and of making images
 */
export async function openSource(
  kit: SourceKit,
  source: DiskSource,
): Promise<{ readonly node: BlockNode; readonly isOwn: boolean }> {
  requireSource(source)
  if (isBlockNode(source)) return { node: source, isOwn: false }
  const options = await optionsOf(kit, source)
  return { node: await openNode(kit.environment, options), isOwn: true }
}

async function optionsOf(kit: SourceKit, source: Exclude<DiskSource, BlockNode>): Promise<NodeOptions> {
  if (isOverlay(source)) return overlayOptions(kit, source)
  if (isPlace(source)) return placeOptions(kit, source)
  return source
}

const isOverlay = (source: DiskSource): source is OverlaySource => 'overlay' in source && 'base' in source

/** `{ driver, file }` are the options of a node: there `file` is a child. */
const isPlace = (source: DiskSource): source is PlaceSource =>
  !('driver' in source) && PLACES.some((key) => key in source)

async function placeOptions(kit: SourceKit, source: PlaceSource): Promise<NodeOptions> {
  const place = kit.place(source)
  const { format, readOnly, size } = source as PlaceOptions
  if (size !== undefined && (await isMissing(place))) await makeImage(kit, place, { size })
  return {
    ...SPARSE,
    ...(format !== undefined && { driver: format }),
    file: place.bytes,
    'read-only': readOnly === true || place.readOnly,
  }
}

async function overlayOptions(kit: SourceKit, { overlay, base }: OverlaySource): Promise<NodeOptions> {
  const backing = isBlockNode(base) ? base : await baseOptions(kit, base)
  const place: OpenedPlace = overlay === 'memory' ? await inMemory(kit) : kit.place(overlay)
  if (place.readOnly) throw new BlockError('EACCES', 'an overlay is written to, and its place is read-only')
  if (await isMissing(place)) {
    const node = isBlockNode(backing) ? backing : await openNode(kit.environment, backing)
    try {
      const basePlace = !isBlockNode(base) && isPlace(base) ? kit.place(base) : undefined
      const name = basePlace?.nameFrom?.(overlay)
      const named = name === undefined ? {} : { backingFile: name, backingFmt: node.driver.name }
      await makeImage(kit, place, { size: node.size, ...named })
    } finally {
      if (node !== backing) await node.close()
    }
  }
  return { ...SPARSE, driver: kit.imageDriver.name, file: place.bytes, backing }
}

/** Nobody writes to a base. */
async function baseOptions(kit: SourceKit, base: PlaceSource | OverlaySource): Promise<NodeOptions> {
  return { ...(await optionsOf(kit, base)), 'read-only': true }
}

async function inMemory({ environment }: SourceKit): Promise<OpenedPlace> {
  return {
    bytes: await openNode(environment, { driver: 'memory' }),
    readOnly: false,
    exists: () => Promise.resolve(false),
    create: () => Promise.resolve(),
  }
}

const isMissing = async (place: OpenedPlace): Promise<boolean> =>
  place.exists !== undefined && !(await place.exists())

/** The image is made in memory, and written in one go: whoever dies meanwhile leaves no half of one. */
async function makeImage(
  { environment, imageDriver }: SourceKit,
  place: OpenedPlace,
  options: { readonly size: number | string } & NodeOptions,
): Promise<void> {
  if (!place.create) throw new BlockError('ENOTSUP', 'no image can be made in this place')
  const draft = memoryFromBytes(new Uint8Array(0))
  await formatImage(imageDriver, draft, { lazyRefcounts: true, ...options })
  const content = new Uint8Array(draft.size)
  await draft.read(0, content)
  await place.create()
  const node = isBlockNode(place.bytes) ? place.bytes : await openNode(environment, place.bytes)
  try {
    await node.write(0, content)
    await node.flush()
  } catch (error) {
    if (node !== place.bytes) await node.close().catch(() => undefined)
    await place.remove?.()
    throw error
  }
  if (node !== place.bytes) await node.close()
}
