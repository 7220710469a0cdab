/** The extensions that few images have: of bitmaps, and of LUKS encryption. */
import { BlockError, be, layout } from '@vmblock/block-core/driver'
import { decimal } from './decimal.ts'
import {
  type BitmapsExtension,
  type ExtensionContext,
  ExtensionType,
  type HeaderExtensions,
} from './extensions.ts'
import { Autoclear } from './features.ts'
import { MAX_BITMAP_DIRECTORY_BYTES, MAX_BITMAPS } from './rare-limits.ts'
import { wide64 } from './words.ts'

// biome-ignore format: columns, as in the specification
/** The bitmaps extension. */
export const bitmapsLayout = layout('bitmaps extension', 24, {
  nbBitmaps:       be.u32(0),
  reserved:        be.u32(4),
  directorySize:   wide64(8),
  directoryOffset: wide64(16),
})
// biome-ignore format: columns, as in the specification
/** The LUKS header extension. */
export const luksLayout = layout('LUKS header extension', 16, {
  offset: wide64(0),
  length: wide64(8),
})

function parseBitmaps(data: Uint8Array, clusterSize: number): BitmapsExtension {
  const { nbBitmaps, reserved, directorySize, directoryOffset } = bitmapsLayout.read(data)
  if (reserved !== 0) throw new BlockError('EINVAL', 'bitmaps_ext: Reserved field is not zero')
  if (nbBitmaps > MAX_BITMAPS)
    throw new BlockError(
      'EINVAL',
      `bitmaps_ext: Image has ${nbBitmaps} bitmaps, exceeding the QEMU supported maximum of ${MAX_BITMAPS}`,
    )
  if (nbBitmaps === 0) throw new BlockError('EINVAL', 'found bitmaps extension with zero bitmaps')
  if (directoryOffset % clusterSize !== 0)
    throw new BlockError('EINVAL', 'bitmaps_ext: invalid bitmap directory offset', {
      offset: directoryOffset,
    })
  if (directorySize > MAX_BITMAP_DIRECTORY_BYTES)
    throw new BlockError(
      'EINVAL',
      `bitmaps_ext: bitmap directory size (${decimal(directorySize)}) exceeds the maximum supported size (${MAX_BITMAP_DIRECTORY_BYTES})`,
    )
  return { nbBitmaps, directorySize, directoryOffset }
}

function parseLuksHeader(data: Uint8Array, { cryptMethod, clusterSize }: ExtensionContext) {
  if (cryptMethod !== 2)
    throw new BlockError('EINVAL', 'CRYPTO header extension only expected with LUKS encryption method')
  if (data.length !== luksLayout.size)
    throw new BlockError(
      'EINVAL',
      `CRYPTO header extension size ${data.length}, but expected size ${luksLayout.size}`,
    )
  const range = luksLayout.read(data)
  if (range.offset % clusterSize !== 0)
    throw new BlockError(
      'EINVAL',
      `Encryption header offset '${range.offset}' is not a multiple of cluster size '${clusterSize}'`,
    )
  return range
}

/**
 * Reads an extension of these types. Of bitmaps that a program without bitmaps has left stale, no more is read.
 *
 * @throws BlockError EINVAL in the words of QEMU 7.2
 */
export function parseRareExtension(
  type: number,
  data: Uint8Array,
  context: ExtensionContext,
): Partial<HeaderExtensions> {
  if (type === ExtensionType.luksHeader) return { luksHeader: parseLuksHeader(data, context) }
  if (data.length !== bitmapsLayout.size)
    throw new BlockError('EINVAL', 'bitmaps_ext: Invalid extension length')
  if ((context.autoclear & Autoclear.bitmaps) === 0n) return { staleBitmaps: true }
  return { bitmaps: parseBitmaps(data, context.clusterSize) }
}
