/** Header extensions: the list between the header and the backing file's name. Unknown ones are kept. */
import { alignUp, BlockError, be, layout, viewOf } from '@vmblock/block-core'
import { Autoclear, type FeatureName } from './features.ts'
import { MAX_BITMAP_DIRECTORY_BYTES, MAX_BITMAPS } from './limits.ts'
import { decimal, decodeName, encodeName, wide64 } from './words.ts'

/** Type words of the extensions. */
export const ExtensionType = {
  end: 0,
  backingFormat: 0xe279_2aca,
  dataFile: 0x4441_5441,
  luksHeader: 0x0537_be77,
  featureNames: 0x6803_f857,
  bitmaps: 0x2385_2875,
} as const

// biome-ignore format: columns, as in the specification
const bitmapsLayout = layout('bitmaps extension', 24, {
  nbBitmaps:       be.u32(0),
  reserved:        be.u32(4),
  directorySize:   wide64(8),
  directoryOffset: wide64(16),
})
// biome-ignore format: columns, as in the specification
const luksLayout = layout('LUKS header extension', 16, {
  offset: wide64(0),
  length: wide64(8),
})

/** Location of the bitmap directory. */
export interface BitmapsExtension {
  nbBitmaps: number
  /** Bytes. */
  directorySize: number
  /** Bytes, in the file. */
  directoryOffset: number
}

/** An unknown extension. */
export interface UnknownExtension {
  readonly type: number
  readonly data: Uint8Array
}

/** All extensions of one header. */
export interface HeaderExtensions {
  backingFormat?: string | undefined
  dataFile?: string | undefined
  /** As found in the image; this library writes its own table. */
  featureNames: readonly FeatureName[]
  bitmaps?: BitmapsExtension | undefined
  /** There is a bitmaps extension, but a program without bitmaps has cleared the autoclear bit. */
  staleBitmaps: boolean
  luksHeader?: { readonly offset: number; readonly length: number } | undefined
  unknown: UnknownExtension[]
}

/** No extension at all. */
export const noExtensions = (): HeaderExtensions => ({ featureNames: [], staleBitmaps: false, unknown: [] })

/** The values on which the rules for extensions depend. */
export interface ExtensionContext {
  readonly clusterSize: number
  readonly cryptMethod: number
  readonly autoclear: bigint
}

const FEATURE_ROW = 48
const FEATURE_NAME_MAX = 46
/** One more byte than the longest format name that QEMU keeps. */
const BACKING_FORMAT_MAX = 16

interface RawExtension {
  readonly type: number
  readonly data: Uint8Array
}

/**
 * The extensions from `start` to `end`, without the end mark. `bytes` must reach to `end`.
 *
 * @throws BlockError EINVAL for an extension that runs past `end`
 */
function* walk(bytes: Uint8Array, start: number, end: number): Generator<RawExtension> {
  const view = viewOf(bytes)
  let at = start
  while (at < end) {
    if (at + 8 > end) throw new BlockError('EINVAL', 'Header extension too large', { offset: at })
    const type = view.getUint32(at)
    const length = view.getUint32(at + 4)
    at += 8
    if (length > end - at) throw new BlockError('EINVAL', 'Header extension too large', { offset: at })
    if (type === ExtensionType.end) return
    yield { type, data: bytes.subarray(at, at + length) }
    at += alignUp(length, 8)
  }
}

function parseFeatureNames(data: Uint8Array): FeatureName[] {
  const names: FeatureName[] = []
  // A last row that is cut short still has a name.
  for (let at = 0; at + 2 < data.length; at += FEATURE_ROW)
    names.push({
      word: data[at]!,
      bit: data[at + 1]!,
      name: decodeName(data.subarray(at + 2, at + FEATURE_ROW)),
    })
  return names
}

/** The feature name table, from a header that may be broken otherwise: only names are needed. */
export function findFeatureNames(bytes: Uint8Array, start: number, end: number): FeatureName[] {
  let names: FeatureName[] = []
  try {
    for (const { type, data } of walk(bytes, start, end))
      if (type === ExtensionType.featureNames) names = parseFeatureNames(data)
  } catch {
    // The names before the break are kept; the caller has a better error to report.
  }
  return names
}

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
 * Reads all extensions between `start` and `end` (bytes); if an extension comes twice, the last one counts.
 * Messages are those of QEMU 7.2.
 *
 * @throws BlockError EINVAL
 */
export function parseExtensions(
  bytes: Uint8Array,
  start: number,
  end: number,
  context: ExtensionContext,
): HeaderExtensions {
  const found = noExtensions()
  for (const { type, data } of walk(bytes, start, end)) {
    switch (type) {
      case ExtensionType.backingFormat:
        if (data.length >= BACKING_FORMAT_MAX)
          throw new BlockError(
            'EINVAL',
            `ERROR: ext_backing_format: len=${data.length} too large (>=${BACKING_FORMAT_MAX})`,
          )
        found.backingFormat = decodeName(data)
        break
      case ExtensionType.dataFile:
        found.dataFile = decodeName(data)
        break
      case ExtensionType.luksHeader:
        found.luksHeader = parseLuksHeader(data, context)
        break
      case ExtensionType.featureNames:
        found.featureNames = parseFeatureNames(data)
        break
      case ExtensionType.bitmaps:
        if (data.length !== bitmapsLayout.size)
          throw new BlockError('EINVAL', 'bitmaps_ext: Invalid extension length')
        if ((context.autoclear & Autoclear.bitmaps) === 0n) found.staleBitmaps = true
        else found.bitmaps = parseBitmaps(data, context.clusterSize)
        break
      default:
        found.unknown.push({ type, data: data.slice() })
    }
  }
  return found
}

function featureTable(names: readonly FeatureName[]): Uint8Array {
  const table = new Uint8Array(names.length * FEATURE_ROW)
  names.forEach(({ word, bit, name }, row) => {
    table.set([word, bit], row * FEATURE_ROW)
    table.set(encodeName(name).subarray(0, FEATURE_NAME_MAX), row * FEATURE_ROW + 2)
  })
  return table
}

/** An extension with its type and length, padded to 8 bytes. */
function packed(type: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(8 + alignUp(data.length, 8))
  const view = viewOf(bytes)
  view.setUint32(0, type)
  view.setUint32(4, data.length)
  bytes.set(data, 8)
  return bytes
}

/**
 * The extensions as bytes, one array each, in QEMU's order and with the end mark.
 *
 * @param names feature name table to write; none if empty
 */
export function serializeExtensions(
  extensions: HeaderExtensions,
  names: readonly FeatureName[],
): Uint8Array[] {
  const { backingFormat, dataFile, luksHeader, bitmaps, unknown } = extensions
  const parts: Uint8Array[] = []
  if (backingFormat) parts.push(packed(ExtensionType.backingFormat, encodeName(backingFormat)))
  if (dataFile !== undefined) parts.push(packed(ExtensionType.dataFile, encodeName(dataFile)))
  if (luksHeader) {
    const data = new Uint8Array(luksLayout.size)
    luksLayout.write(data, luksHeader)
    parts.push(packed(ExtensionType.luksHeader, data))
  }
  if (names.length > 0) parts.push(packed(ExtensionType.featureNames, featureTable(names)))
  if (bitmaps) {
    const data = new Uint8Array(bitmapsLayout.size)
    bitmapsLayout.write(data, { ...bitmaps, reserved: 0 })
    parts.push(packed(ExtensionType.bitmaps, data))
  }
  for (const { type, data } of unknown) parts.push(packed(type, data))
  parts.push(packed(ExtensionType.end, new Uint8Array(0)))
  return parts
}
