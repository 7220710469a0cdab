/** Header extensions: the list between the header and the backing file's name. Unknown ones are kept. */
import { alignUp, BlockError, viewOf } from '@vmblock/block-core/driver'
import { decodeName } from './words.ts'

/** Type words of the extensions. */
export const ExtensionType = {
  end: 0,
  backingFormat: 0xe279_2aca,
  dataFile: 0x4441_5441,
  luksHeader: 0x0537_be77,
  featureNames: 0x6803_f857,
  bitmaps: 0x2385_2875,
} as const

/** Location of the bitmap directory. */
export interface BitmapsExtension {
  nbBitmaps: number
  /** Bytes. */
  directorySize: number
  /** Bytes, in the file. */
  directoryOffset: number
}

/** An extension as it lies in the header. */
export interface RawExtension {
  readonly type: number
  readonly data: Uint8Array
}

/** All extensions of one header. */
export interface HeaderExtensions {
  backingFormat?: string | undefined
  dataFile?: string | undefined
  bitmaps?: BitmapsExtension | undefined
  /** There is such an extension, but a program that does not know it has written to the image. */
  staleBitmaps?: boolean
  luksHeader?: { readonly offset: number; readonly length: number } | undefined
  unknown: RawExtension[]
}

/** No extension at all. */
export const noExtensions = (): HeaderExtensions => ({ unknown: [] })

/** The values on which the rules for extensions depend. */
export interface ExtensionContext {
  readonly clusterSize: number
  readonly cryptMethod: number
  readonly autoclear: bigint
}

/** The code that few headers need: it is loaded when one does. */
export interface RareHeaderCode {
  /** See rare-extensions.ts. */
  parseRareExtension(type: number, data: Uint8Array, context: ExtensionContext): Partial<HeaderExtensions>
  /** See feature-names.ts. */
  describeUnknown(bits: bigint, bytes: Uint8Array, start: number, end: number): string
}

/** One more byte than the longest format name that QEMU keeps. */
const BACKING_FORMAT_MAX = 16

/**
 * The extensions from `start` to `end`, without the end mark. `bytes` must reach to `end`.
 *
 * @throws BlockError EINVAL for an extension that runs past `end`
 */
export function* walkExtensions(bytes: Uint8Array, start: number, end: number): Generator<RawExtension> {
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

/**
 * Reads all extensions between `start` and `end` (bytes); if an extension comes twice, the last one counts.
 * Messages are those of QEMU 7.2. The table of feature names is skipped: this library writes its own.
 *
 * @throws BlockError EINVAL; EIO if the code for a rare one cannot be loaded
 */
export async function parseExtensions(
  bytes: Uint8Array,
  start: number,
  end: number,
  context: ExtensionContext,
  loadRare: () => Promise<RareHeaderCode>,
): Promise<HeaderExtensions> {
  const found = noExtensions()
  for (const { type, data } of walkExtensions(bytes, start, end)) {
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
      case ExtensionType.featureNames:
        break
      case ExtensionType.luksHeader:
      case ExtensionType.bitmaps:
        Object.assign(found, (await loadRare()).parseRareExtension(type, data, context))
        break
      default:
        found.unknown.push({ type, data: data.slice() })
    }
  }
  return found
}
