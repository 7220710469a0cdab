/**
 * The header of a growing image of Bochs, a "redolog": 512 bytes, little endian. Source: the file formats in the
 * development guide of Bochs, and the limits of QEMU.
 */
import { BlockError, layout, le, SECTOR } from '@vmblock/block-core/driver'

/** Bytes of the header. */
export const HEADER_BYTES = 512

/** Where the texts are, and how many bytes each may have. */
const TEXTS = { magic: [0, 32], type: [32, 16], subtype: [48, 16] } as const
const MAGIC = 'Bochs Virtual HD Image'

/** Offset of the numbers, in bytes. */
const NUMBERS_AT = 64

const common = {
  version: le.u32(0),
  headerSize: le.u32(4),
  catalogEntries: le.u32(8),
  bitmapSize: le.u32(12),
  extentSize: le.u32(16),
}
/** The numbers of version 1. */
const NUMBERS_V1 = layout('bochs numbers, version 1', 28, { ...common, diskSize: le.u64(20) })
/** Those of version 2: a time stamp came in between. */
const NUMBERS_V2 = layout('bochs numbers', 32, { ...common, time: le.u32(20), diskSize: le.u64(24) })

const VERSION_1 = 0x10000
const VERSION_2 = 0x20000

/** Entries of the largest catalog, as in QEMU: enough for 8 TiB. */
const MAX_CATALOG = 0x100000
/** Bytes of the largest extent, as in QEMU. */
const MAX_EXTENT = 0x800000

/** An entry of the catalog for an extent that holds nothing. */
export const NO_EXTENT = 0xffffffff
/** Bytes of an entry. */
export const ENTRY = 4

/** A checked header. */
export interface Header {
  /** Bytes of the disk: whole sectors. */
  readonly size: number
  /** Offset of the catalog in the file, in bytes. */
  readonly catalogOffset: number
  readonly catalogEntries: number
  /** Bytes of an extent's bitmap in the file: whole sectors. */
  readonly bitmapBytes: number
  /** Bytes of an extent: a power of two. */
  readonly extentSize: number
}

/** The text that begins at an offset and ends with a zero byte; undefined if it does not. */
function textAt(bytes: Uint8Array, [at, room]: readonly [number, number]): string | undefined {
  const field = bytes.subarray(at, at + room)
  const end = field.indexOf(0)
  return end < 0 ? undefined : String.fromCharCode(...field.subarray(0, end))
}

/** The version of the redolog that begins so; undefined if none of any kind does. */
function versionOf(head: Uint8Array): number | undefined {
  if (head.length < HEADER_BYTES || textAt(head, TEXTS.magic) !== MAGIC) return undefined
  const version = NUMBERS_V1.fields.version.get(new DataView(head.buffer, head.byteOffset), NUMBERS_AT)
  const isKnown = version === VERSION_1 || version === VERSION_2
  return isKnown && textAt(head, TEXTS.type) === 'Redolog' ? version : undefined
}

/** Whether a file that begins so is a growing image. */
export const isGrowing = (head: Uint8Array): boolean =>
  versionOf(head) !== undefined && textAt(head, TEXTS.subtype) === 'Growing'

/**
 * Reads the header.
 *
 * @param bytes the first 512 of the file
 * @param fileSize bytes of the file
 * @throws BlockError EINVAL and EFBIG in QEMU's words; ENOTSUP for redologs that hold the changes of another image
 */
export function parseHeader(bytes: Uint8Array, fileSize: number): Header {
  const version = versionOf(bytes)
  const subtype = textAt(bytes, TEXTS.subtype)
  if (version !== undefined && (subtype === 'Undoable' || subtype === 'Volatile'))
    throw new BlockError(
      'ENOTSUP',
      `The Bochs image holds changes of another image (${subtype}), and no disk`,
    )
  if (version === undefined || subtype !== 'Growing')
    throw new BlockError('EINVAL', 'Image not in Bochs format')
  const numbers = version === VERSION_1 ? NUMBERS_V1 : NUMBERS_V2
  const { headerSize, catalogEntries, bitmapSize, extentSize, diskSize } = numbers.read(bytes, NUMBERS_AT)
  if (catalogEntries > MAX_CATALOG) throw new BlockError('EFBIG', 'Catalog size is too large')
  const refuse = (why: string): never => {
    throw new BlockError('EINVAL', why)
  }
  if (extentSize < SECTOR) refuse('Extent size must be at least 512')
  if (!Number.isInteger(Math.log2(extentSize))) refuse(`Extent size ${extentSize} is not a power of two`)
  if (extentSize > MAX_EXTENT) refuse(`Extent size ${extentSize} is too large`)
  const size = diskSize - (diskSize % SECTOR)
  if (catalogEntries < Math.ceil(size / extentSize)) refuse('Catalog size is too small for this disk size')
  // QEMU does not look at it: bits that are not there would be taken from the data.
  if (bitmapSize < extentSize / SECTOR / 8)
    refuse(
      `The bitmap of ${bitmapSize} bytes has fewer bits than an extent of ${extentSize} bytes has sectors`,
    )
  if (headerSize + catalogEntries * ENTRY > fileSize)
    refuse(`The catalog of ${catalogEntries} entries ends behind the end of the file`)
  return {
    size,
    catalogOffset: headerSize,
    catalogEntries,
    bitmapBytes: Math.ceil(bitmapSize / SECTOR) * SECTOR,
    extentSize,
  }
}
