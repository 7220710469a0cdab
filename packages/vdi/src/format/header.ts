/** The VDI header: its fields, and the rules for them (QEMU's block/vdi.c, VirtualBox's VDICore.h). */
import { BlockError, isPowerOfTwo, layout, le, SECTOR, viewOf } from '@vmblock/block-core/driver'

/** Bytes that are read as the header. Nobody's is longer. */
export const HEADER_BYTES = 512
/** Where the signature is, in bytes: a text of 64 bytes is in front of it. */
const START_AT = 0x40
const SIGNATURE = 0xbeda107f
/** Version 1.1. */
const VERSION = 0x10001
/** The text of QEMU's images. It means nothing. */
const TEXT = '<<< QEMU VM Virtual Disk Image >>>\n'
/** Bytes of a header that QEMU counts, from the field of the size on. VirtualBox's have 16 more, for another geometry. */
const HEADER_SIZE = 0x180

/** Bytes of a block in images that QEMU and VirtualBox make. */
export const BLOCK_SIZE = 2 ** 20
/** Largest block that is read, in bytes. */
const MAX_BLOCK_SIZE = 2 ** 26
/** Most blocks of a disk: more would need more than half a gigabyte of memory. QEMU has 536870784. */
export const MAX_BLOCKS = 2 ** 26
/** Largest disk that QEMU makes, in bytes. */
const MAX_DISK_SIZE = 0x1fffff8000000n

/** Kinds of images. */
export const ImageType = { dynamic: 1, fixed: 2, undo: 3, differencing: 4 } as const
const OTHER_TYPES: Readonly<Record<number, string>> = {
  [ImageType.undo]: 'undo image',
  [ImageType.differencing]: 'differencing image',
}

/** A block that was never written, in the map. */
export const NEVER_WRITTEN = 0xffff_ffff
/** A block that was given up, and reads as zeroes, in the map. */
export const DISCARDED = 0xffff_fffe

const START = layout('start of the VDI header', 0x14, {
  signature: le.u32(0),
  version: le.u32(4),
  headerSize: le.u32(8),
  imageType: le.u32(12),
  flags: le.u32(16),
})

/** Where the second part is, in bytes: a comment of 256 bytes is in front of it. */
const REST_AT = 0x154

const REST = layout('rest of the VDI header', 0x74, {
  mapOffset: le.u32(0),
  dataOffset: le.u32(4),
  cylinders: le.u32(8),
  heads: le.u32(12),
  sectors: le.u32(16),
  sectorSize: le.u32(20),
  unused: le.u32(24),
  diskSize: le.flags64(28),
  blockSize: le.u32(36),
  blockExtra: le.u32(40),
  blocks: le.u32(44),
  allocatedBlocks: le.u32(48),
  uuid: le.flags64(52),
  uuidEnd: le.flags64(60),
  modifiedUuid: le.flags64(68),
  modifiedUuidEnd: le.flags64(76),
  linkUuid: le.flags64(84),
  linkUuidEnd: le.flags64(92),
  parentUuid: le.flags64(100),
  parentUuidEnd: le.flags64(108),
})

/** What an image has to know of its header. */
export interface Header {
  /** Host offset of the map, in bytes. */
  readonly mapOffset: number
  /** Host offset of block 0 of the data area, in bytes. */
  readonly dataOffset: number
  /** Bytes of the guest's disk, as the header has them. */
  readonly diskSize: number
  readonly blockSize: number
  /** Entries of the map. */
  readonly blocks: number
  /** Blocks of the data area that are in use; QEMU puts the next one behind so many. */
  readonly allocatedBlocks: number
  /** All blocks were allocated when the image was made. */
  readonly isFixed: boolean
}

/** Where the count of allocated blocks is in the file, in bytes. */
export const COUNT_AT = REST_AT + REST.fields.allocatedBlocks.at

const hex = (value: number | bigint): string => `0x${value.toString(16)}`
const unsupported = (what: string): BlockError => new BlockError('ENOTSUP', `unsupported VDI image (${what})`)

/** The error for a disk of so many bytes. */
export const tooLarge = (bytes: number | bigint, most: number | bigint): BlockError =>
  new BlockError(
    'ENOTSUP',
    `Unsupported VDI image size (size is ${hex(bytes)}, max supported is ${hex(most)})`,
  )

/** Whether `head` begins as images do. */
export const hasSignature = (head: Uint8Array): boolean =>
  head.length >= HEADER_BYTES && viewOf(head).getUint32(START_AT, true) === SIGNATURE

/**
 * Reads and validates the header.
 *
 * @param bytes the first {@link HEADER_BYTES} bytes of a file of `fileSize` bytes
 * @throws BlockError EFORMAT, ENOTSUP in QEMU's words; EINVAL for a map that is not inside the file
 */
export function parseHeader(bytes: Uint8Array, fileSize: number): Header {
  const { signature, version, imageType } = START.read(bytes, START_AT)
  const rest = REST.read(bytes, REST_AT)
  const { mapOffset, dataOffset, sectorSize, diskSize, blockSize, blockExtra, blocks } = rest
  if (signature !== SIGNATURE)
    throw new BlockError(
      'EFORMAT',
      `Image not in VDI format (bad signature ${signature.toString(16).padStart(8, '0')})`,
    )
  if (version !== VERSION) throw unsupported(`version ${version >>> 16}.${version & 0xffff}`)
  if (diskSize > MAX_DISK_SIZE) throw tooLarge(diskSize, MAX_DISK_SIZE)
  if (mapOffset % SECTOR !== 0) throw unsupported(`unaligned block map offset ${hex(mapOffset)}`)
  if (dataOffset % SECTOR !== 0) throw unsupported(`unaligned data offset ${hex(dataOffset)}`)
  if (sectorSize !== SECTOR) throw unsupported(`sector size ${sectorSize} is not ${SECTOR}`)
  if (blockSize < SECTOR || blockSize > MAX_BLOCK_SIZE || !isPowerOfTwo(blockSize))
    throw unsupported(`block size ${blockSize} is no power of two from ${SECTOR} to ${MAX_BLOCK_SIZE}`)
  const room = blocks * blockSize
  if (diskSize > BigInt(room)) throw unsupported(`disk size ${diskSize}, image bitmap has room for ${room}`)
  if ((rest.linkUuid | rest.linkUuidEnd) !== 0n) throw unsupported('non-NULL link UUID')
  if ((rest.parentUuid | rest.parentUuidEnd) !== 0n) throw unsupported('non-NULL parent UUID')
  if (blocks > MAX_BLOCKS) throw unsupported(`too many blocks ${blocks}, max is ${MAX_BLOCKS}`)
  if (imageType !== ImageType.dynamic && imageType !== ImageType.fixed)
    throw unsupported(OTHER_TYPES[imageType] ?? `image type ${imageType}`)
  if (blockExtra !== 0) throw unsupported(`${blockExtra} extra bytes in front of each block`)
  if (dataOffset < HEADER_BYTES) throw unsupported(`data offset ${hex(dataOffset)} inside the header`)
  if (mapOffset + blocks * 4 > fileSize)
    throw new BlockError(
      'EINVAL',
      `the block map ends at ${mapOffset + blocks * 4}, behind the end of the file at ${fileSize}`,
    )
  return {
    mapOffset,
    dataOffset,
    diskSize: Number(diskSize),
    blockSize,
    blocks,
    allocatedBlocks: rest.allocatedBlocks,
    isFixed: imageType === ImageType.fixed,
  }
}

/**
 * The fields that an image changes, as one piece inside the first sector, so that a power cut leaves all or none of them.
 *
 * @param bytes the header as it is; it is changed
 * @returns the offset of the piece, and the piece
 */
export function changeHeader(bytes: Uint8Array, header: Header): readonly [number, Uint8Array] {
  const { mapOffset, dataOffset, blocks, allocatedBlocks } = header
  const rest = REST.read(bytes, REST_AT)
  const diskSize = BigInt(header.diskSize)
  REST.write(bytes, { ...rest, mapOffset, dataOffset, diskSize, blocks, allocatedBlocks }, REST_AT)
  return [REST_AT, bytes.subarray(REST_AT, COUNT_AT + 4)]
}

/** A new header of {@link HEADER_BYTES} bytes, as QEMU writes it. The ids are random. */
export function newHeader(header: Header): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES)
  bytes.set(new TextEncoder().encode(TEXT))
  START.write(
    bytes,
    {
      signature: SIGNATURE,
      version: VERSION,
      headerSize: HEADER_SIZE,
      imageType: header.isFixed ? ImageType.fixed : ImageType.dynamic,
      flags: 0,
    },
    START_AT,
  )
  const ids = new Uint8Array(32)
  crypto.getRandomValues(ids)
  for (const at of [0, 16]) {
    // Version 4, variant 1, of an id whose first three fields are little-endian.
    ids[at + 7] = (ids[at + 7]! & 0x0f) | 0x40
    ids[at + 8] = (ids[at + 8]! & 0x3f) | 0x80
  }
  const view = viewOf(ids)
  REST.write(
    bytes,
    {
      mapOffset: header.mapOffset,
      dataOffset: header.dataOffset,
      cylinders: 0,
      heads: 0,
      sectors: 0,
      sectorSize: SECTOR,
      unused: 0,
      diskSize: BigInt(header.diskSize),
      blockSize: header.blockSize,
      blockExtra: 0,
      blocks: header.blocks,
      allocatedBlocks: header.allocatedBlocks,
      uuid: view.getBigUint64(0, true),
      uuidEnd: view.getBigUint64(8, true),
      modifiedUuid: view.getBigUint64(16, true),
      modifiedUuidEnd: view.getBigUint64(24, true),
      linkUuid: 0n,
      linkUuidEnd: 0n,
      parentUuid: 0n,
      parentUuidEnd: 0n,
    },
    REST_AT,
  )
  return bytes
}
