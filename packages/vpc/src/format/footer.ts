/** The footer: the last sector of every image, and the first of those with blocks. */
import { BlockError, be, type Layout, layout, SECTOR, type ValueOf, viewOf } from '@vmblock/block-core/driver'
import { checksumOf } from './checksum.ts'
import { COOKIE, FOOTER_BYTES, hasCookie } from './cookie.ts'
import { type Geometry, isLargest, sectorsOf } from './geometry.ts'

/** The largest disk of QEMU, in bytes: 2040 GiB. */
export const MAX_DISK = 0xff000000 * SECTOR

/** In place of an offset: there is nothing. */
const NOTHING = 0xffff_ffff_ffff_ffffn
/** Seconds from 1970 to 2000. */
const EPOCH = 946_684_800

/** The values of {@link Footer.type}. */
export const DiskType = { fixed: 2, dynamic: 3, differencing: 4 } as const

const fields = {
  cookie: be.flags64(0),
  /** Bit 1 is always set. */
  features: be.u32(8),
  version: be.u32(12),
  /** Where the dynamic header is, in bytes; all ones in a fixed image. */
  dataOffset: be.flags64(16),
  /** When the image was made: seconds since 2000. */
  time: be.u32(24),
  /** Four letters. */
  creator: be.u32(28),
  creatorVersion: be.u32(32),
  creatorHost: be.u32(36),
  /** Bytes when the image was made, and now. */
  originalSize: be.flags64(40),
  currentSize: be.flags64(48),
  cylinders: be.u16(56),
  heads: be.u8(58),
  sectorsPerTrack: be.u8(59),
  type: be.u32(60),
  checksum: be.u32(64),
  idHigh: be.flags64(68),
  idLow: be.flags64(76),
  savedState: be.u8(84),
}

/** The part of a footer that is not zero. */
const FOOTER: Layout<typeof fields> = layout('VHD footer', 85, fields)

/** A footer's values. */
export type Footer = ValueOf<typeof fields>

/** Four letters as a number. */
export const wordOf = (letters: string): number =>
  viewOf(Uint8Array.from(letters, (letter) => letter.charCodeAt(0))).getUint32(0)

/** The letters of a number, without zeroes and spaces at the end. */
export const lettersOf = (word: number): string =>
  String.fromCharCode(word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255).replace(/[\0 ]+$/, '')

/** Now, as a footer says it. */
export const timeNow = (): number => Math.max(Math.floor(Date.now() / 1000) - EPOCH, 0)

/** A time in a footer, in milliseconds since 1970. */
export const dateOf = (time: number): Date => new Date((time + EPOCH) * 1000)

/** The usual text of 16 bytes. */
export function uuidText(high: bigint, low: bigint): string {
  const digits = high.toString(16).padStart(16, '0') + low.toString(16).padStart(16, '0')
  return [8, 12, 16, 20, 32].map((end, i, ends) => digits.slice(i === 0 ? 0 : ends[i - 1], end)).join('-')
}

/** The 16 bytes of such a text. */
export function uuidOf(text: string): { readonly high: bigint; readonly low: bigint } {
  const value = BigInt(`0x${text.replaceAll('-', '')}`)
  return { high: value >> 64n, low: BigInt.asUintN(64, value) }
}

/**
 * Reads a footer.
 *
 * @param bytes {@link FOOTER_BYTES} of them
 * @returns `damaged` if the checksum is wrong, undefined if it is no footer at all
 */
export function decodeFooter(bytes: Uint8Array): Footer | 'damaged' | undefined {
  if (!hasCookie(bytes)) return undefined
  const footer = FOOTER.read(bytes)
  return footer.checksum === checksumOf(bytes, fields.checksum.at) ? footer : 'damaged'
}

/**
 * A footer's bytes, with its checksum.
 *
 * @param before the bytes that it replaces: what is in reserved places stays
 */
export function encodeFooter(footer: Omit<Footer, 'checksum'>, before?: Uint8Array): Uint8Array {
  const bytes = before ? before.slice() : new Uint8Array(FOOTER_BYTES)
  FOOTER.write(bytes, { ...footer, checksum: 0 })
  viewOf(bytes).setUint32(fields.checksum.at, checksumOf(bytes, fields.checksum.at))
  return bytes
}

/** What a new footer says of its own. */
export interface NewFooter {
  readonly type: number
  /** Bytes of the disk. */
  readonly size: number
  readonly geometry: Geometry
  /** The size counts, and not the geometry: `force_size`. */
  readonly isExact: boolean
  /** Where the dynamic header will be, in bytes; undefined in a fixed image. */
  readonly dataOffset: number | undefined
}

/** Says in QEMU's images that the geometry gives the size. */
const BY_GEOMETRY = wordOf('qemu')
/** Says in QEMU's images that the current size does. */
const BY_SIZE = wordOf('qem2')

/** The footer of a new image, as QEMU writes it: also with the version of Virtual PC 2007. */
export function newFooter({ type, size, geometry, isExact, dataOffset }: NewFooter): Footer {
  const { high, low } = uuidOf(crypto.randomUUID())
  return {
    cookie: COOKIE,
    features: 2,
    version: 0x10000,
    dataOffset: dataOffset === undefined ? NOTHING : BigInt(dataOffset),
    time: timeNow(),
    creator: isExact ? BY_SIZE : BY_GEOMETRY,
    creatorVersion: 0x50003,
    creatorHost: wordOf('Wi2k'),
    originalSize: BigInt(size),
    currentSize: BigInt(size),
    ...geometry,
    type,
    checksum: 0,
    idHigh: high,
    idLow: low,
    savedState: 0,
  }
}

/** The ways to learn the size of a disk: of the option `force_size_calc`. */
export type SizeRule = 'chs' | 'current_size'

/** Programs in whose images the geometry counts: Virtual PC, and QEMU itself without `force_size`. */
const GEOMETRY_COUNTS: readonly number[] = [wordOf('vpc '), BY_GEOMETRY]

/** Whether the geometry of a footer gives the size of the disk. */
export function countsGeometry(footer: Footer, rule?: SizeRule): boolean {
  if (isLargest(footer) || sectorsOf(footer) === 0) return false
  return rule === undefined ? GEOMETRY_COUNTS.includes(footer.creator) : rule === 'chs'
}

/**
 * Bytes of the disk. QEMU takes the geometry unless it knows the program, and so cuts off the end of disks of VirtualBox
 * and others; here, only the programs that are known for it count in geometries.
 *
 * @throws BlockError EFBIG above {@link MAX_DISK}
 */
export function diskSize(footer: Footer, rule?: SizeRule): number {
  const bytes = countsGeometry(footer, rule) ? BigInt(sectorsOf(footer) * SECTOR) : footer.currentSize
  if (bytes > BigInt(MAX_DISK))
    throw new BlockError('EFBIG', `the footer says that the disk has ${bytes} bytes, more than 2040 GiB`)
  const size = Number(bytes)
  return size - (size % SECTOR)
}

/** The footer of a disk that has grown to `size` bytes, which its geometry cannot express if `geometry` has fewer. */
export function resizedFooter(footer: Footer, size: number, geometry: Geometry): Footer {
  const isExact = sectorsOf(geometry) * SECTOR !== size && GEOMETRY_COUNTS.includes(footer.creator)
  return { ...footer, ...geometry, currentSize: BigInt(size), creator: isExact ? BY_SIZE : footer.creator }
}
