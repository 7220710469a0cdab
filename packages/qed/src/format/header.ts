/** The QED header: its fields, and QEMU's rules for them (block/qed.c, bdrv_qed_do_open). */
import {
  alignDown,
  alignUp,
  BlockError,
  isPowerOfTwo,
  type Layout,
  layout,
  le,
  SECTOR,
  type ValueOf,
  viewOf,
} from '@vmblock/block-core/driver'

/** `QED\0`, read as a little-endian word. */
export const MAGIC = 0x00444551

/** Bits of `features`; images with others are refused. */
export const Feature = { backingFile: 0x1n, needCheck: 0x2n, backingIsRaw: 0x4n } as const
const KNOWN_FEATURES = Feature.backingFile | Feature.needCheck | Feature.backingIsRaw

const fields = {
  magic: le.u32(0),
  /** Bytes. */
  clusterSize: le.u32(4),
  /** Clusters of the L1 table, and of each L2 table. */
  tableSize: le.u32(8),
  /** Clusters before the first that may be allocated. */
  headerSize: le.u32(12),
  features: le.flags64(16),
  /** None are defined; unknown ones may be ignored. */
  compatFeatures: le.flags64(24),
  /** None are defined; a writer clears those that it does not know. */
  autoclearFeatures: le.flags64(32),
  /** Bytes from the start of the file. */
  l1TableOffset: le.u64(40),
  /** Bytes of the guest's disk. */
  imageSize: le.u64(48),
  backingNameOffset: le.u32(56),
  /** Bytes, without a terminating zero. */
  backingNameSize: le.u32(60),
}

/** Bytes of the header. */
export const HEADER_BYTES = 64

/** The header on disk. */
export const HEADER: Layout<typeof fields> = layout('QED header', HEADER_BYTES, fields)

/** A header's values. */
export type Header = ValueOf<typeof fields>

/** Bounds of the cluster size, in bytes. */
export const CLUSTER_SIZE = { least: 4096, most: 2 ** 26 } as const
/** Bounds of the table size, in clusters. */
export const TABLE_SIZE = { least: 1, most: 16 } as const

/** Longest name of a backing file that QEMU reads, in bytes. */
export const MAX_BACKING_NAME = 1023

/** Whether a cluster size (bytes) is valid in QED. */
export const isClusterSize = (bytes: number): boolean =>
  bytes >= CLUSTER_SIZE.least && bytes <= CLUSTER_SIZE.most && isPowerOfTwo(bytes)

/** Whether a table size (clusters) is valid in QED. */
export const isTableSize = (clusters: number): boolean =>
  clusters >= TABLE_SIZE.least && clusters <= TABLE_SIZE.most && isPowerOfTwo(clusters)

/** Largest disk in bytes, in QEMU's arithmetic: if 64 bits overflow to 0, QEMU accepts only an empty disk. */
export function maxImageSize(clusterSize: number, tableSize: number): bigint {
  const entries = BigInt((tableSize * clusterSize) / 8)
  return BigInt.asUintN(64, entries * entries * BigInt(clusterSize))
}

/** Whether a disk of `bytes` is possible with this geometry. */
export const isImageSize = (bytes: number, clusterSize: number, tableSize: number): boolean =>
  bytes % SECTOR === 0 && BigInt(bytes) <= maxImageSize(clusterSize, tableSize)

/** Whether a cluster may be at a host offset, in a file whose whole clusters end at `end`. All in bytes. */
export const isClusterOffset = ({ clusterSize, headerSize }: Header, end: number, offset: number): boolean =>
  offset % clusterSize === 0 && offset >= headerSize * clusterSize && offset < end

/** Whether a table may be there. QEMU refuses every table of one cluster; this does not. */
export const isTableOffset = (header: Header, end: number, offset: number): boolean =>
  isClusterOffset(header, end, offset) &&
  isClusterOffset(header, end, offset + (header.tableSize - 1) * header.clusterSize)

/**
 * Reads and validates the header, in QEMU's order.
 *
 * @param bytes the first {@link HEADER_BYTES} bytes of a file of `fileSize` bytes
 * @throws BlockError EFORMAT, ENOTSUP, EINVAL in QEMU's words; EFBIG for a disk beyond 2^53-1 bytes
 */
export function parseHeader(bytes: Uint8Array, fileSize: number): Header {
  const view = viewOf(bytes)
  if (bytes.length < HEADER_BYTES || fields.magic.get(view, 0) !== MAGIC)
    throw new BlockError('EFORMAT', 'Image not in QED format')
  const unknown = fields.features.get(view, 0) & ~KNOWN_FEATURES
  if (unknown !== 0n) throw new BlockError('ENOTSUP', `Unsupported QED features: ${unknown.toString(16)}`)
  const clusterSize = fields.clusterSize.get(view, 0)
  const tableSize = fields.tableSize.get(view, 0)
  if (!isClusterSize(clusterSize)) throw invalid('QED cluster size is invalid')
  if (!isTableSize(tableSize)) throw invalid('QED table size is invalid')
  const imageSize = view.getBigUint64(fields.imageSize.at, true)
  if (imageSize % BigInt(SECTOR) !== 0n || imageSize > maxImageSize(clusterSize, tableSize))
    throw invalid('QED image size is invalid')
  if (view.getBigUint64(fields.l1TableOffset.at, true) >= BigInt(fileSize))
    throw invalid('QED table offset is invalid')
  const header = HEADER.read(bytes)
  if (!isTableOffset(header, alignDown(alignUp(fileSize, SECTOR), clusterSize), header.l1TableOffset))
    throw invalid('QED table offset is invalid')
  if (header.headerSize > 0xffff_ffff / clusterSize) throw invalid('QED header size is too large')
  if ((header.features & Feature.backingFile) === 0n) return header
  if (header.backingNameOffset + header.backingNameSize > header.headerSize * clusterSize)
    throw invalid('QED backing filename offset is invalid')
  if (header.backingNameSize > MAX_BACKING_NAME) throw invalid('Failed to read backing filename')
  return header
}

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)
