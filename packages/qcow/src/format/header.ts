/** The header of qcow version 1: its fields, and QEMU's rules for them (block/qcow.c, qcow_open). */
import {
  alignDown,
  alignUp,
  BlockError,
  be,
  divUp,
  type Layout,
  layout,
  SECTOR,
  type ValueOf,
  viewOf,
} from '@vmblock/block-core/driver'

/** `QFI\xfb`. */
export const MAGIC = 0x514649fb
export const VERSION = 1

/** Methods of encryption. */
export const CryptMethod = { none: 0, aes: 1 } as const

const fields = {
  magic: be.u32(0),
  version: be.u32(4),
  /** Bytes from the start of the file; 0: there is no backing file. */
  backingNameOffset: be.u64(8),
  /** Bytes. */
  backingNameSize: be.u32(16),
  /** Unused. */
  mtime: be.u32(20),
  /** Bytes of the guest's disk, of which whole sectors count. */
  size: be.u64(24),
  clusterBits: be.u8(32),
  /** Entries of an L2 table, as a power of two. */
  l2Bits: be.u8(33),
  padding: be.u16(34),
  cryptMethod: be.u32(36),
  /** Bytes from the start of the file, not aligned to anything. */
  l1TableOffset: be.u64(40),
}

/** Bytes of the header. */
export const HEADER_BYTES = 48

/** The header on disk. */
export const HEADER: Layout<typeof fields> = layout('qcow header', HEADER_BYTES, fields)

/** Bounds, as powers of two: of the bytes of a cluster, and of the entries of an L2 table. */
const CLUSTER_BITS = { least: 9, most: 16 }
const L2_BITS = { least: 6, most: 13 }
/** Longest name of a backing file that QEMU reads, in bytes. */
export const MAX_BACKING_NAME = 1023
/** Bytes of an entry of either table. */
export const ENTRY = 8
/** Most entries of an L1 table that QEMU reads. */
const MAX_L1_ENTRIES = Math.floor((2 ** 31 - 1) / ENTRY)

/** The measures of an image, in bytes. */
export interface Geometry {
  readonly clusterBits: number
  readonly clusterSize: number
  /** Of an L2 table. */
  readonly tableBytes: number
  /** Guest bytes that an L2 table describes. */
  readonly coverage: number
  /** Of the L1 table. */
  readonly l1Bytes: number
}

/** @throws BlockError EINVAL, in QEMU's words, for a disk that is too large */
export function geometryOf(clusterBits: number, l2Bits: number, size: number): Geometry {
  const clusterSize = 2 ** clusterBits
  const coverage = clusterSize * 2 ** l2Bits
  const entries = divUp(size, coverage)
  if (entries > MAX_L1_ENTRIES) throw invalid('Image too large')
  return { clusterBits, clusterSize, tableBytes: 2 ** l2Bits * ENTRY, coverage, l1Bytes: entries * ENTRY }
}

/** A checked header. */
export interface Header extends Geometry {
  /** Bytes of the guest's disk: whole sectors. */
  readonly size: number
  readonly isEncrypted: boolean
  readonly l1TableOffset: number
  /** Where the backing file's name is, in bytes; 0: there is none. */
  readonly backingNameOffset: number
  readonly backingNameSize: number
}

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/**
 * Reads and validates the header, in QEMU's order.
 *
 * @param bytes the first bytes of a file of `fileSize` bytes
 * @throws BlockError EFORMAT, ENOTSUP, EINVAL in QEMU's words; EIO for an L1 table that the file does not hold
 */
export function parseHeader(bytes: Uint8Array, fileSize: number): Header {
  const view = viewOf(bytes)
  if (bytes.length < HEADER_BYTES || fields.magic.get(view, 0) !== MAGIC)
    throw new BlockError('EFORMAT', 'Image not in qcow format')
  const version = fields.version.get(view, 0)
  if (version !== VERSION) {
    const hint = version === 2 || version === 3 ? "\nTry the 'qcow2' driver instead." : ''
    throw new BlockError('ENOTSUP', `qcow (v1) does not support qcow version ${version}${hint}`)
  }
  const size = view.getBigUint64(fields.size.at)
  if (size <= 1n) throw invalid('Image size is too small (must be at least 2 bytes)')
  const { clusterBits, l2Bits, cryptMethod } = bitsOf(view)
  if (clusterBits < CLUSTER_BITS.least || clusterBits > CLUSTER_BITS.most)
    throw invalid('Cluster size must be between 512 and 64k')
  if (l2Bits < L2_BITS.least || l2Bits > L2_BITS.most)
    throw invalid('L2 table size must be between 512 and 64k')
  if (cryptMethod !== CryptMethod.none && cryptMethod !== CryptMethod.aes)
    throw invalid('invalid encryption method in qcow header')
  if (size > BigInt(Number.MAX_SAFE_INTEGER)) throw invalid('Image too large')
  const geometry = geometryOf(clusterBits, l2Bits, Number(size))
  // An empty name is none.
  if (view.getBigUint64(fields.backingNameOffset.at) !== 0n && view.getUint32(16) > MAX_BACKING_NAME)
    throw invalid('Backing file name too long')
  const { l1TableOffset, backingNameOffset, backingNameSize } = placesOf(bytes)
  const end = alignUp(fileSize, SECTOR)
  if (l1TableOffset < HEADER_BYTES || l1TableOffset + geometry.l1Bytes > end)
    throw new BlockError('EIO', `The L1 table at ${l1TableOffset} is not inside the image file`)
  if (backingNameOffset !== 0 && backingNameOffset + backingNameSize > end)
    throw new BlockError(
      'EIO',
      `The name of the backing file at ${backingNameOffset} is not inside the image file`,
    )
  return {
    ...geometry,
    size: alignDown(Number(size), SECTOR),
    isEncrypted: cryptMethod === CryptMethod.aes,
    l1TableOffset,
    backingNameOffset,
    backingNameSize,
  }
}

const bitsOf = (view: DataView): Pick<ValueOf<typeof fields>, 'clusterBits' | 'l2Bits' | 'cryptMethod'> => ({
  clusterBits: fields.clusterBits.get(view, 0),
  l2Bits: fields.l2Bits.get(view, 0),
  cryptMethod: fields.cryptMethod.get(view, 0),
})

/** @throws BlockError EFBIG for offsets beyond 2^53-1 */
const placesOf = (bytes: Uint8Array) => HEADER.read(bytes)
