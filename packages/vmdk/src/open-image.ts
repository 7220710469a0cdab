/** Opens an {@link Image}: from a file with all of it, or from a descriptor that names other files. */
import { type BlockChild, BlockError, type OpenContext, SECTOR } from '@vmblock/block-core/driver'
import type { Extent } from './extents/extent.ts'
import { FlatExtent, ZeroExtent } from './extents/flat.ts'
import {
  type Descriptor,
  type ExtentLine,
  looksLikeDescriptor,
  MOST_BYTES,
  parseDescriptor,
} from './format/descriptor.ts'
import { carriesDescriptor, descriptorPlace, MAGIC, magicOf } from './format/sparse-header.ts'
import { type DescriptorPlace, Image } from './image.ts'
import { firstSector, isSparse, openSparse } from './open-extent.ts'
import { Parent } from './parent.ts'

/** The children of an image. */
export type VmdkContext = OpenContext<unknown, 'file' | 'backing', 'extents'>

/** Types of images whose descriptor lists all of their extents as files. Others name devices, or parts of them. */
const TYPES = new Set([
  'monolithicflat',
  'vmfs',
  'vmfssparse',
  'sesparse',
  'twogbmaxextentsparse',
  'twogbmaxextentflat',
  '2gbmaxextentsparse',
  '2gbmaxextentflat',
  'custom',
])

/** No descriptor: an extent that was opened by itself. */
const NOTHING: Descriptor = {
  createType: undefined,
  cid: undefined,
  parentCid: undefined,
  parentName: undefined,
  extents: [],
}

/** @throws BlockError in QEMU's words; errors of the files */
export async function openImage(context: VmdkContext): Promise<Image> {
  const file = await context.requireChild('file')
  if (file.size < 4) throw new BlockError('EINVAL', 'File is too small, not a valid image')
  const sector = await firstSector(file)
  const isAlone = isSparse(sector) && !(magicOf(sector) === MAGIC && carriesDescriptor(sector))
  const place = await readDescriptor(file, sector, isAlone)
  const descriptor = place.space.length === 0 ? NOTHING : parseDescriptor(place.space, !isAlone)
  const parent = new Parent(file, descriptor.parentCid)
  const { parentName } = descriptor
  const extents = isAlone
    ? [await openSparse(file, sector, { type: '', start: 0 }, parent)]
    : await openExtents(context, descriptor, parent)
  parent.backing = await context.child(
    'backing',
    parentName === undefined ? undefined : { filename: parentName, driver: 'vmdk' },
  )
  const image = new Image({
    nodeName: context.nodeName,
    file,
    extents,
    parent,
    descriptor,
    createType: isAlone
      ? extents[0]!.isCompressed
        ? 'streamOptimized'
        : 'monolithicSparse'
      : (descriptor.createType ?? ''),
    place,
  })
  if (!context.readOnly && !context.checkMode && !context.noIo) image.requireWritable()
  return image
}

/** Reads the descriptor: of the file itself, or in the file of the only extent. */
async function readDescriptor(
  file: BlockChild,
  sector: Uint8Array,
  isAlone: boolean,
): Promise<DescriptorPlace> {
  const isInside = magicOf(sector) === MAGIC
  const { offset, bytes } = isInside
    ? descriptorPlace(sector)
    : { offset: 0, bytes: isAlone ? 0 : MOST_BYTES }
  const space = new Uint8Array(Math.max(0, Math.min(bytes, MOST_BYTES, file.size - offset)))
  if (space.length > 0) await file.read(offset, space)
  // An extent of a split image has room for a descriptor, but none.
  if (isAlone && !looksLikeDescriptor(space)) return { offset, space: space.subarray(0, 0), most: 0 }
  return { offset, space, most: isInside ? space.length : MOST_BYTES }
}

async function openExtents(context: VmdkContext, descriptor: Descriptor, parent: Parent): Promise<Extent[]> {
  const { createType } = descriptor
  if (createType === undefined) throw new BlockError('EINVAL', 'invalid VMDK image descriptor')
  if (!TYPES.has(createType.toLowerCase()))
    throw new BlockError('ENOTSUP', `Unsupported image type '${createType}'`)
  const lines = descriptor.extents.filter(({ sectors }) => sectors > 0)
  if (lines.length === 0) throw new BlockError('EINVAL', 'The descriptor names no extents')
  for (const line of lines) requireKnown(line)
  const named = lines.filter(({ type }) => type !== 'ZERO')
  const files = await context.children(
    'extents',
    named.map(({ filename }) => ({ filename })),
  )
  if (files.length !== named.length)
    throw new BlockError('EINVAL', `The image has ${named.length} extents, and ${files.length} were given`)
  const extents: Extent[] = []
  let start = 0
  let next = 0
  for (const line of lines) {
    const extent =
      line.type === 'ZERO'
        ? new ZeroExtent(start, line.sectors * SECTOR)
        : await openExtent(context, line, start, files[next++]!, parent)
    if (extent.bytes > 0) extents.push(extent)
    start += extent.bytes
  }
  if (!Number.isSafeInteger(start)) throw new BlockError('EFBIG', `The disk has ${start} bytes`)
  if (extents.length === 0) throw new BlockError('EINVAL', 'The descriptor names no extents')
  return extents
}

const FLAT = ['FLAT', 'VMFS']
const SPARSE = ['SPARSE', 'VMFSSPARSE', 'SESPARSE']

/** QEMU skips lines that it cannot use, so what follows is found where it does not belong. @throws BlockError ENOTSUP */
function requireKnown({ access, type, text }: ExtentLine): void {
  if (access === 'NOACCESS') throw new BlockError('EACCES', `The extent must not be accessed: ${text}`)
  if (![...FLAT, ...SPARSE, 'ZERO'].includes(type))
    throw new BlockError('ENOTSUP', `Unsupported extent type '${type}': ${text}`)
}

async function openExtent(
  context: VmdkContext,
  line: ExtentLine,
  start: number,
  file: BlockChild,
  parent: Parent,
): Promise<Extent> {
  const { type, offset = 0, sectors, text } = line
  if (FLAT.includes(type)) return new FlatExtent(type, start, sectors * SECTOR, file, offset * SECTOR)
  const sector = await firstSector(file)
  // A caller that only describes an image may put other files in the place of those that it names.
  if (context.noIo && !isSparse(sector)) return new FlatExtent(type, start, sectors * SECTOR, file, 0)
  if (!isSparse(sector) || (magicOf(sector) === MAGIC && carriesDescriptor(sector)))
    throw new BlockError('EFORMAT', `Image not in VMDK format: ${text}`)
  const extent = await openSparse(file, sector, { type, start }, parent)
  if (extent.bytes !== sectors * SECTOR)
    context.events.warn(
      `warning: vmdk: the extent has ${extent.bytes / SECTOR} sectors, and its line says otherwise: ${text}`,
    )
  return extent
}
