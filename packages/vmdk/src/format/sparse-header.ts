/** The headers of sparse extents: hosted ones ("KDMV", also the footer of a stream) and ESX's ("COWD"). QEMU: block/vmdk.c. */
import { alignUp, BlockError, type Layout, layout, le, SECTOR, viewOf } from '@vmblock/block-core/driver'

/** `KDMV`, read as a little-endian word. */
export const MAGIC = 0x564d444b
/** `COWD`, read as a little-endian word. */
export const COWD_MAGIC = 0x44574f43

/** Bits of `flags`; unknown ones are ignored, as in QEMU. */
export const Flag = {
  newlines: 1,
  redundant: 2,
  zeroGrains: 4,
  compressed: 0x10000,
  markers: 0x20000,
} as const

/** A directory offset that says: the footer has it. */
export const AT_END = 0xffff_ffff_ffff_ffffn
/** `\n \r\n`: damaged where a file was transferred as text. */
export const NEWLINES = 0x0a0d200a
/** `compression` for zlib streams. */
export const DEFLATE = 1

// Sizes and offsets are sectors, and hostile: they are checked as bigints before they become numbers.
const fields = {
  magic: le.u32(0),
  version: le.u32(4),
  flags: le.u32(8),
  capacity: le.flags64(12),
  grainSize: le.flags64(20),
  descriptorOffset: le.flags64(28),
  descriptorSize: le.flags64(36),
  tableEntries: le.u32(44),
  redundantDirectory: le.flags64(48),
  directory: le.flags64(56),
  /** Where grains begin. */
  overhead: le.flags64(64),
  unclean: le.u8(72),
  newlines: le.u32(73),
  compression: le.u16(77),
}

/** The header on disk; zeroes fill the sector. */
export const HEADER: Layout<typeof fields> = layout('VMDK sparse header', 79, fields)

const cowdFields = {
  magic: le.u32(0),
  version: le.u32(4),
  flags: le.u32(8),
  capacity: le.u32(12),
  grainSize: le.u32(16),
  directory: le.u32(20),
  directoryEntries: le.u32(24),
  nextFree: le.u32(28),
}

/** The part of COWD's header that readers need. */
export const COWD_HEADER: Layout<typeof cowdFields> = layout('COWD header', 32, cowdFields)

/** What a sparse extent says of itself; all offsets and sizes are bytes, and are known to be exact. */
export interface SparseHeader {
  readonly kind: 'hosted' | 'cowd'
  readonly version: number
  readonly capacity: number
  readonly grainSize: number
  /** Entries of a grain table. */
  readonly tableEntries: number
  /** Entries of the grain directory. */
  readonly directoryEntries: number
  readonly directory: number
  /** 0: there are no redundant tables. */
  readonly redundantDirectory: number
  /** The descriptor in this file; 0 bytes: none. */
  readonly descriptor: { readonly offset: number; readonly bytes: number }
  /** Where grains begin. */
  readonly overhead: number
  readonly hasZeroGrains: boolean
  readonly isCompressed: boolean
  readonly hasMarkers: boolean
  /** The header names no directory: a footer does. */
  readonly isStream: boolean
  /** The first sector, for the footers of a stream. */
  readonly sector: Uint8Array
}

/** The most sectors of a disk: 2^42, far more than entries of 32 bits can reach in one file. */
const MOST_SECTORS = 2n ** 42n
/** The largest grain, in sectors. */
const LARGEST_GRAIN = 0x20_0000n
/** The largest grain of a compressed extent, in bytes: memory for one is taken at once. */
const LARGEST_COMPRESSED = 2 ** 24
/** The most entries of a grain directory. */
const MOST_TABLES = 32 * 2 ** 20
const MOST_ENTRIES = 512
/** Entries of each grain table of COWD. */
const COWD_ENTRIES = 4096

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/** A number of sectors in bytes. @throws BlockError EFBIG beyond 2^53-1 */
function bytesOf(sectors: bigint, what: string): number {
  const bytes = sectors * BigInt(SECTOR)
  if (bytes > BigInt(Number.MAX_SAFE_INTEGER))
    throw new BlockError('EFBIG', `${what} is at sector ${sectors}, which is out of reach`)
  return Number(bytes)
}

/** Whether the header is only there to carry a descriptor, as some files of Workstation are. */
export function carriesDescriptor(sector: Uint8Array): boolean {
  const { capacity, descriptorOffset } = HEADER.read(sector)
  return capacity === 0n && descriptorOffset !== 0n
}

/** Where the descriptor of a header is, in bytes. @throws BlockError EFBIG */
export function descriptorPlace(sector: Uint8Array): SparseHeader['descriptor'] {
  const { descriptorOffset, descriptorSize } = HEADER.read(sector)
  if (descriptorOffset === 0n) return { offset: 0, bytes: 0 }
  return {
    offset: bytesOf(descriptorOffset, 'The descriptor'),
    bytes: bytesOf(descriptorSize, 'The end of the descriptor'),
  }
}

/** Whether the directory of a stream is at its end. */
export const isAtEnd = (sector: Uint8Array): boolean => HEADER.read(sector).directory === AT_END

/**
 * Reads and validates a hosted header, in QEMU's order.
 *
 * @param first the first sector of the file
 * @param sector the header that counts: the same, or that of the footer
 * @param fileSize bytes
 * @throws BlockError EINVAL, ENOTSUP in QEMU's words; EFBIG for offsets beyond 2^53-1
 */
export function parseSparseHeader(first: Uint8Array, sector: Uint8Array, fileSize: number): SparseHeader {
  const raw = HEADER.read(sector)
  const { version, flags, tableEntries, grainSize } = raw
  if (raw.magic !== MAGIC) throw invalid('Image not in VMDK format')
  if (version > 3) throw new BlockError('ENOTSUP', `Unsupported VMDK version ${version}`)
  if (tableEntries > MOST_ENTRIES) throw invalid('L2 table size too big')
  if (tableEntries === 0 || grainSize === 0n) throw invalid('L1 entry size is invalid')
  if (raw.capacity > MOST_SECTORS) throw invalid('L1 size too big')
  const overhead = bytesOf(raw.overhead, 'The first grain')
  if (alignUp(fileSize, SECTOR) < overhead)
    throw invalid(`File truncated, expecting at least ${overhead} bytes`)
  if (grainSize > LARGEST_GRAIN) throw invalid('Invalid granularity, image may be corrupt')
  const grainBytes = Number(grainSize) * SECTOR
  const capacity = Number(raw.capacity) * SECTOR
  const directoryEntries = Math.ceil(capacity / (grainBytes * tableEntries))
  if (directoryEntries > MOST_TABLES) throw invalid('L1 size too big')
  const isCompressed = raw.compression === DEFLATE
  if (isCompressed && grainBytes > LARGEST_COMPRESSED)
    throw new BlockError('ENOTSUP', `Compressed grains of ${grainBytes} bytes are not supported`)
  if (raw.directory === AT_END) throw invalid('Invalid footer')
  return {
    kind: 'hosted',
    version,
    capacity,
    grainSize: grainBytes,
    tableEntries,
    directoryEntries,
    directory: bytesOf(raw.directory, 'The grain directory'),
    redundantDirectory:
      (flags & Flag.redundant) === 0 ? 0 : bytesOf(raw.redundantDirectory, 'The redundant grain directory'),
    descriptor: descriptorPlace(first),
    overhead,
    hasZeroGrains: (flags & Flag.zeroGrains) !== 0,
    isCompressed,
    hasMarkers: (flags & Flag.markers) !== 0,
    isStream: first !== sector,
    sector: first,
  }
}

/** Reads and validates a header of ESX. @throws BlockError EINVAL */
export function parseCowdHeader(sector: Uint8Array): SparseHeader {
  const { capacity, grainSize, directory, directoryEntries } = COWD_HEADER.read(sector)
  if (grainSize === 0) throw invalid('L1 entry size is invalid')
  if (BigInt(grainSize) > LARGEST_GRAIN) throw invalid('Invalid granularity, image may be corrupt')
  if (directoryEntries > MOST_TABLES) throw invalid('L1 size too big')
  if (directoryEntries * COWD_ENTRIES * grainSize < capacity)
    throw invalid(`The grain directory of ${directoryEntries} entries is too short for the disk`)
  return {
    kind: 'cowd',
    version: 1,
    capacity: capacity * SECTOR,
    grainSize: grainSize * SECTOR,
    tableEntries: COWD_ENTRIES,
    directoryEntries,
    directory: directory * SECTOR,
    redundantDirectory: 0,
    descriptor: { offset: 0, bytes: 0 },
    overhead: SECTOR,
    hasZeroGrains: false,
    isCompressed: false,
    hasMarkers: false,
    isStream: false,
    sector,
  }
}

/** The first word of a file, by which its kind is told. */
export const magicOf = (head: Uint8Array): number => viewOf(head).getUint32(0, true)
