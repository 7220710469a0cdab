/** The Parallels header: its fields, and the rules for them (QEMU's docs/interop/parallels.txt, block/parallels.c). */
import { alignUp, BlockError, divUp, layout, le, SECTOR, viewOf } from '@vmblock/block-core/driver'

/** Bytes of the header; the BAT follows. */
export const HEADER_BYTES = 64
/** Bytes of an entry of the BAT. */
export const ENTRY = 4

/** Images whose BAT counts sectors, and whose disks have 32-bit sector numbers. */
const MAGIC = 'WithoutFreeSpace'
/** Images whose BAT counts clusters. */
const MAGIC_EXTENDED = 'WithouFreSpacExt'
const MAGIC_BYTES = 16
const VERSION = 2
/** In {@link fields}: the image is open for writing, or was when its program ended. */
export const IN_USE = 0x746f6e59
/** Most sectors of a cluster in QEMU: so many bytes and one sector are less than 2^31. */
const MAX_TRACKS = Math.floor((2 ** 31 - 1) / 513)
/** Most clusters of a disk: more would need more than half a gigabyte of memory. QEMU has 2^29. */
export const MAX_CLUSTERS = 2 ** 26
/** The geometry that QEMU gives its images; nothing depends on it. */
const GEOMETRY = { heads: 16, sectorsPerTrack: 32 } as const

const fields = {
  version: le.u32(0),
  heads: le.u32(4),
  cylinders: le.u32(8),
  /** Sectors of a cluster. */
  tracks: le.u32(12),
  entries: le.u32(16),
  sectors: le.flags64(20),
  inUse: le.u32(28),
  /** Sectors in front of the first cluster; 0: the BAT, rounded up to sectors. */
  dataStart: le.u32(32),
  flags: le.u32(36),
  /** Sector of the format extension; 0: there is none. */
  extension: le.flags64(40),
}

const FIELDS = layout('Parallels header', HEADER_BYTES - MAGIC_BYTES, fields)

/** The part of the header that changes while an image is used, in bytes of the file. */
export const MARKS_AT = MAGIC_BYTES + fields.inUse.at

/** What an image has to know of its header. Sizes and offsets are bytes. */
export interface Header {
  /** The BAT counts clusters, not sectors. */
  readonly countsClusters: boolean
  readonly clusterSize: number
  /** Entries of the BAT. */
  readonly entries: number
  readonly diskSize: number
  /** Where the first cluster may be. */
  readonly dataStart: number
  /** The header says where that is, so all clusters are aligned to it. */
  readonly isDataAligned: boolean
  /** The image is in use, or was not closed. */
  readonly isInUse: boolean
  /** Sector of the format extension; 0: there is none. */
  readonly extension: bigint
}

const textOf = (bytes: Uint8Array): string => String.fromCharCode(...bytes.subarray(0, MAGIC_BYTES))

/** Whether `head` begins as images do. */
export function isParallels(head: Uint8Array): boolean {
  if (head.length < HEADER_BYTES || viewOf(head).getUint32(MAGIC_BYTES, true) !== VERSION) return false
  const magic = textOf(head)
  return magic === MAGIC || magic === MAGIC_EXTENDED
}

const tooLarge = (message: string): BlockError => new BlockError('EFBIG', message)

/**
 * Reads and validates the header, in QEMU's order.
 *
 * @param bytes the first {@link HEADER_BYTES} bytes of a file of `fileSize` bytes
 * @param filename for messages
 * @throws BlockError EFORMAT, EINVAL, EFBIG in QEMU's words; EINVAL for a BAT that is not inside the file
 */
export function parseHeader(bytes: Uint8Array, fileSize: number, filename: string): Header {
  if (!isParallels(bytes)) throw new BlockError('EFORMAT', 'Image not in Parallels format')
  const countsClusters = textOf(bytes) === MAGIC_EXTENDED
  const { tracks, entries, sectors, inUse, dataStart, extension } = FIELDS.read(bytes, MAGIC_BYTES)
  if (tracks === 0) throw new BlockError('EINVAL', 'Invalid image: Zero sectors per track')
  if (tracks > MAX_TRACKS) throw tooLarge('Invalid image: Too big cluster')
  if (entries > MAX_CLUSTERS) throw tooLarge('Catalog too large')
  const diskSize = (countsClusters ? sectors : sectors & 0xffff_ffffn) * BigInt(SECTOR)
  if (diskSize > BigInt(Number.MAX_SAFE_INTEGER))
    throw tooLarge(`Can't get image size '${filename}': File too large`)
  const clusterSize = tracks * SECTOR
  const clusters = divUp(Number(diskSize), clusterSize)
  if (clusters > MAX_CLUSTERS)
    throw tooLarge(`the disk has ${clusters} clusters, the most is ${MAX_CLUSTERS}`)
  const tableEnd = HEADER_BYTES + entries * ENTRY
  if (tableEnd > fileSize)
    throw new BlockError('EINVAL', `the BAT ends at ${tableEnd}, behind the end of the file at ${fileSize}`)
  return {
    countsClusters,
    clusterSize,
    entries,
    diskSize: Number(diskSize),
    // A BAT that reaches farther than the header says must not be overwritten.
    dataStart: Math.max(dataStart * SECTOR, alignUp(tableEnd, SECTOR)),
    isDataAligned: dataStart * SECTOR >= tableEnd,
    isInUse: inUse === IN_USE,
    extension,
  }
}

/**
 * The marks of an image, as one piece inside the first sector.
 *
 * @param bytes the header as it is; it is changed
 * @param marks what changes; 0 as `inUse` is what QEMU leaves in a closed image
 */
export function changeMarks(
  bytes: Uint8Array,
  marks: { readonly inUse: number; readonly extension?: bigint },
): Uint8Array {
  FIELDS.write(bytes, { ...FIELDS.read(bytes, MAGIC_BYTES), ...marks }, MAGIC_BYTES)
  return bytes.subarray(MARKS_AT, HEADER_BYTES)
}

/**
 * The first sector of a new image, as QEMU writes it.
 *
 * @param size bytes of the disk, and `clusterSize` of a cluster: multiples of 512
 * @throws BlockError EINVAL, EFBIG in QEMU's words
 */
export function newHeader(size: number, clusterSize: number): { bytes: Uint8Array; dataStart: number } {
  // QEMU makes images with clusters so large that it does not open them.
  if (clusterSize > MAX_TRACKS * SECTOR) throw new BlockError('EINVAL', 'Cluster size is too large')
  if (size >= 2 ** 32 * clusterSize || divUp(size, clusterSize) > MAX_CLUSTERS)
    throw tooLarge('Image size is too large for this cluster size')
  const entries = divUp(size, clusterSize)
  const dataStart = alignUp(HEADER_BYTES + entries * ENTRY, clusterSize)
  const bytes = new Uint8Array(SECTOR)
  bytes.set(new TextEncoder().encode(MAGIC_EXTENDED))
  const { heads, sectorsPerTrack } = GEOMETRY
  FIELDS.write(
    bytes,
    {
      version: VERSION,
      heads,
      cylinders: Math.floor(size / SECTOR / heads / sectorsPerTrack) % 2 ** 32,
      tracks: clusterSize / SECTOR,
      entries,
      sectors: BigInt(size / SECTOR),
      inUse: 0,
      dataStart: dataStart / SECTOR,
      flags: 0,
      extension: 0n,
    },
    MAGIC_BYTES,
  )
  return { bytes, dataStart }
}
