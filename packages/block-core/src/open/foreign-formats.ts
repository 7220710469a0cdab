/**
 * Recognizes files of formats without a driver, so that none of them is taken for a raw disk. Formats that have a
 * driver are listed too, because not every registry holds every driver. The rows recognize all that QEMU 7.2 does, and
 * more.
 *
 * File systems have no row: an ISO 9660 image is what a CD holds, and a squashfs image a disk that Linux mounts. They are
 * raw disks, byte for byte.
 *
 * This file imports nothing, so that web pages, which load it on demand, do not load more files at the start.
 */
import type { AnyDriver } from '../contract/driver.ts'
import type { FormatProbe } from '../contract/driver-facts.ts'

/** A format that may have no driver. */
interface ForeignFormat extends FormatProbe {
  /** For messages: `x.img is ...`. */
  readonly what: string
}

const CERTAIN = 100
const SECTOR = 512

/** The bytes of Latin-1 text: one character is one byte. */
const bytesOf = (text: string): readonly number[] => Array.from(text, (character) => character.charCodeAt(0))

const holds = (bytes: Uint8Array, at: number, wanted: readonly number[]): boolean =>
  at >= 0 && wanted.every((byte, index) => bytes[at + index] === byte)

/** Probes for any of these signatures at offset `at` (bytes). */
const startsWith = (signatures: readonly string[], at = 0): Pick<FormatProbe, 'probe'> => {
  const wanted = signatures.map(bytesOf)
  return { probe: (head) => (wanted.some((signature) => holds(head, at, signature)) ? CERTAIN : 0) }
}

/** Probes for a pattern in the first sector, read as Latin-1 text. */
const matches = (pattern: RegExp): Pick<FormatProbe, 'probe'> => ({
  probe: (head) => (pattern.test(String.fromCharCode(...head)) ? CERTAIN : 0),
})

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)

const version = (head: Uint8Array): number => viewOf(head).getUint32(4)

const QCOW = bytesOf('QFI\xfb')

/** VMDK files with a binary header, at offset 0: hosted, from an ESX server, and from VMFS 6. */
const VMDK_SPARSE = startsWith([
  'KDMV',
  'COWD',
  '\xbe\xba\xfe\xca\x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00',
])

/**
 * A VMDK descriptor is text. QEMU looks for a line with the version after any comments and blank lines;
 * VMware begins with a comment of these words. Both must be in the first sector, which is all that a probe
 * sees.
 */
const VMDK_TEXT = matches(
  /^(?:\xef\xbb\xbf)?(?:#[^\n]*\n|[ \t\r]*\n)*(?:[ \t]*version[ \t]*=[ \t]*["']?\d|[ \t]*#[ \t]*Disk[ \t]*DescriptorFile)/i,
)

const CONECTIX = bytesOf('conectix')

/** The footer of a VHD is its last sector, or a byte shorter (old programs); files may be cut or padded. */
function hasVhdFooter(tail: Uint8Array): boolean {
  const lastSector = Math.ceil(tail.length / SECTOR) * SECTOR - SECTOR
  return [tail.length - 512, tail.length - 511, lastSector].some((at) => holds(tail, at, CONECTIX))
}

const KOLY = bytesOf('koly')
/** The signature, the version and the size of the trailer. */
const KOLY_TRAILER = bytesOf('koly\x00\x00\x00\x04\x00\x00\x02\x00')
const ENCRYPTED_END = bytesOf('cdsaencr')
/** QEMU also finds a trailer that is followed by up to 511 bytes. */
const KOLY_BYTES = 1023

/**
 * The trailer of a DMG is at or near its end. For a file named *.dmg, QEMU accepts the four letters `koly`
 * alone, so a raw disk of such a name must not have them there.
 */
function hasDmgTrailer(tail: Uint8Array, filename: string): boolean {
  const wanted = /\.dmg$/i.test(filename) ? KOLY : KOLY_TRAILER
  for (let at = Math.max(tail.length - KOLY_BYTES, 0); at <= tail.length - wanted.length; at++)
    if (holds(tail, at, wanted)) return true
  return holds(tail, tail.length - ENCRYPTED_END.length, ENCRYPTED_END)
}

/** Skippable frames may come first: pzstd writes one. */
const isSkippable = (head: Uint8Array, at: number): boolean =>
  (head[at]! & 0xf0) === 0x50 && holds(head, at + 1, bytesOf('\x2a\x4d\x18'))

function isZstd(head: Uint8Array): boolean {
  let at = 0
  while (at + 8 <= head.length && isSkippable(head, at)) at += 8 + viewOf(head).getUint32(at + 4, true)
  // Beyond the first sector nothing is visible, but a disk does not begin with a skippable frame.
  return at > head.length - 4 || holds(head, at, bytesOf('\x28\xb5\x2f\xfd'))
}

/** Deflate, and no undefined flag. */
const isGzip = (head: Uint8Array): boolean => holds(head, 0, bytesOf('\x1f\x8b\x08')) && head[3]! < 0x20

/** A level, and then the magic of a block or, if the stream is empty, of its end. */
const isBzip2 = (head: Uint8Array): boolean =>
  holds(head, 0, bytesOf('BZh')) &&
  (holds(head, 4, bytesOf('1AY&SY')) || holds(head, 4, bytesOf('\x17rE8P\x90')))

// biome-ignore format: a table
const FORMATS: readonly ForeignFormat[] = [
  { name: 'qcow2', what: 'a qcow2 image', probe: (head) => (holds(head, 0, QCOW) && version(head) >= 2 ? CERTAIN : 0) },
  { name: 'qcow', what: 'a qcow image of version 1', probe: (head) => (holds(head, 0, QCOW) && version(head) === 1 ? CERTAIN : 0) },
  { name: 'qed', what: 'a QED image', ...startsWith(['QED\x00']) },
  { name: 'vmdk', what: 'a VMDK image (VMware)', probe: (head, name) => VMDK_SPARSE.probe!(head, name) || VMDK_TEXT.probe!(head, name) },
  { name: 'vpc', what: 'a VHD image (Virtual PC, Hyper-V)', ...startsWith(['conectix']), probeTail: (tail) => (hasVhdFooter(tail) ? CERTAIN : 0) },
  { name: 'vhdx', what: 'a VHDX image (Hyper-V)', ...startsWith(['vhdxfile']) },
  { name: 'vdi', what: 'a VDI image (VirtualBox)', ...startsWith(['\x7f\x10\xda\xbe'], 64) },
  { name: 'parallels', what: 'an image of Parallels', ...startsWith(['WithoutFreeSpace', 'WithouFreSpacExt']) },
  { name: 'luks', what: 'a LUKS container (encrypted)', ...startsWith(['LUKS\xba\xbe']) },
  { name: 'dmg', what: 'an image of macOS (dmg)', ...startsWith(['encrcdsa']), probeTail: (tail, name) => (hasDmgTrailer(tail, name) ? CERTAIN : 0) },
  { name: 'asif', what: 'a sparse image of macOS (ASIF)', ...startsWith(['shdw\x00\x00\x00']) },
  { name: 'chd', what: 'a compressed disk of MAME (CHD)', ...startsWith(['MComprHD']) },
  { name: 'bochs', what: 'an image of Bochs', ...startsWith(['Bochs Virtual HD Image']) },
  { name: 'cloop', what: 'a cloop image', ...matches(/^#!\/bin\/sh\n#V\d+\.\d+ Format\n/) },
  { name: 'gzip', what: 'compressed (gzip), so that it has to be decompressed first', probe: (head) => (isGzip(head) ? CERTAIN : 0) },
  { name: 'zstd', what: 'compressed (zstd), so that it has to be decompressed first', probe: (head) => (isZstd(head) ? CERTAIN : 0) },
  { name: 'xz', what: 'compressed (xz), so that it has to be decompressed first', ...startsWith(['\xfd7zXZ\x00']) },
  { name: 'bzip2', what: 'compressed (bzip2), so that it has to be decompressed first', probe: (head) => (isBzip2(head) ? CERTAIN : 0) },
]

/** The parts of a file that identify its format. */
export interface ProbedBytes {
  /** The first 512 bytes, zeroes where the file is shorter. */
  readonly head: Uint8Array
  /** The end of the file, as for {@link FormatProbe.probeTail}; empty if it was not read. */
  readonly tail: Uint8Array
  readonly filename: string
}

/**
 * The name of the format that a file would be taken for, with or without a driver.
 *
 * @returns undefined if nothing recognizes it
 */
export function formatOf(
  drivers: Iterable<AnyDriver>,
  { head, tail, filename }: ProbedBytes,
): string | undefined {
  let best: string | undefined
  let bestScore = 0
  for (const format of [...drivers, ...FORMATS]) {
    const score = Math.max(format.probe?.(head, filename) ?? 0, format.probeTail?.(tail, filename) ?? 0)
    if (score > bestScore) [best, bestScore] = [format.name, score]
  }
  return best
}

/** The error message for a file whose format was not named, and has no driver here. */
export function refusalOf(name: string, filename: string): string {
  const what = FORMATS.find((format) => format.name === name)?.what ?? `in the format ${name}`
  return (
    `${filename === '' ? 'The file' : `'${filename}'`} is ${what}, and there is no driver '${name}' here; where its bytes ` +
    "themselves are the disk, name the format: raw (-f raw, driver 'raw')"
  )
}
