/** The header of images with blocks: where their table is, and which image is below. */
import {
  BlockError,
  be,
  isPowerOfTwo,
  type Layout,
  layout,
  SECTOR,
  type ValueOf,
  viewOf,
} from '@vmblock/block-core/driver'
import { checksumOf } from './checksum.ts'

/** Bytes of the header. */
export const HEADER_BYTES = 1024
/** Bytes of the header that are values; behind them are the name of the parent, and where to find it. */
export const VALUES_BYTES = 64
/** Bytes of the field with the parent's name. */
export const NAME_BYTES = 512
const LOCATORS_AT = VALUES_BYTES + NAME_BYTES
/** How many places there are for ways to the parent. */
export const LOCATORS = 8

/** `cxsparse`, as a number. */
const COOKIE = 0x6378737061727365n
/** QEMU's INT_MAX / 4. */
const MAX_ENTRIES = 536_870_911
/** Most blocks that are kept in memory: their table takes 64 MiB. */
export const MAX_BLOCKS = 2 ** 24
/** Bytes of a block that the specification names as usual. */
export const BLOCK_SIZE = 2 ** 21
/** In the table: the block is not there. */
export const NO_SECTOR = 0xffff_ffff

const fields = {
  cookie: be.flags64(0),
  /** All ones. */
  nextOffset: be.flags64(8),
  tableOffset: be.flags64(16),
  version: be.u32(24),
  entries: be.u32(28),
  /** Bytes of a block's data. */
  blockSize: be.u32(32),
  checksum: be.u32(36),
  parentHigh: be.flags64(40),
  parentLow: be.flags64(48),
  /** Seconds since 2000; programs mean the time when the parent was made, or when its file changed last. */
  parentTime: be.u32(56),
  reserved: be.u32(60),
}

const VALUES: Layout<typeof fields> = layout('dynamic VHD header', VALUES_BYTES, fields)

const locatorFields = {
  platform: be.u32(0),
  /** Bytes, or sectors: programs differ. */
  space: be.u32(4),
  bytes: be.u32(8),
  reserved: be.u32(12),
  offset: be.flags64(16),
}

const LOCATOR: Layout<typeof locatorFields> = layout('parent locator', 24, locatorFields)

/** The values of the header. */
export type HeaderValues = ValueOf<typeof fields>

/** One way to the parent. */
export type Locator = ValueOf<typeof locatorFields>

/** The header, with its bytes. */
export interface DynamicHeader {
  readonly values: HeaderValues
  readonly bytes: Uint8Array
  /** Those that are used. */
  readonly locators: readonly Locator[]
}

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/**
 * Reads and checks the header, all but its checksum.
 *
 * @throws BlockError EINVAL, in QEMU's words where it has some
 */
export function decodeHeader(bytes: Uint8Array): DynamicHeader {
  const values = VALUES.read(bytes)
  if (values.cookie !== COOKIE) throw invalid('Invalid header magic')
  const { blockSize } = values
  if (!isPowerOfTwo(blockSize) || blockSize < SECTOR) throw invalid(`Invalid block size ${blockSize}`)
  const locators = Array.from({ length: LOCATORS }, (_, i) =>
    LOCATOR.read(bytes, LOCATORS_AT + i * LOCATOR.size),
  )
  return { values, bytes, locators: locators.filter(({ platform }) => platform !== 0) }
}

/**
 * Checks the checksum, which QEMU does not.
 *
 * @throws BlockError EINVAL
 */
export function requireChecksum({ values, bytes }: DynamicHeader): void {
  if (values.checksum !== checksumOf(bytes, fields.checksum.at))
    throw invalid('Incorrect checksum of the dynamic header')
}

/**
 * The number of entries for a disk of `size` bytes.
 *
 * @throws BlockError EINVAL, in QEMU's words, if the table has fewer; EFBIG for more than fit into memory
 */
export function blocksOf({ entries, blockSize }: HeaderValues, size: number): number {
  if (entries * blockSize < size) throw invalid('Page table too small')
  if (entries > MAX_ENTRIES) throw invalid(`Max Table Entries too large (${entries})`)
  return requireBlocks(Math.ceil(size / blockSize))
}

/** @throws BlockError EFBIG if there are more blocks than are kept in memory */
export function requireBlocks(blocks: number): number {
  if (blocks > MAX_BLOCKS)
    throw new BlockError(
      'EFBIG',
      `the disk has ${blocks} blocks, and not more than ${MAX_BLOCKS} are supported`,
    )
  return blocks
}

/** Bytes of the bitmap in front of the data of each block: a bit for each sector, in whole sectors. */
export const bitmapBytes = (blockSize: number): number => Math.ceil(blockSize / SECTOR / 8 / SECTOR) * SECTOR

/** What a new header says of the image below. */
export interface NewParent {
  readonly high: bigint
  readonly low: bigint
  readonly time: number
  /** For {@link NAME_BYTES}. */
  readonly name: Uint8Array
  readonly locators: readonly Locator[]
}

/** What a new header says of its own. All in bytes, but the number of entries. */
export interface NewHeader {
  readonly tableOffset: number
  readonly entries: number
  readonly blockSize: number
  readonly parent: NewParent | undefined
}

/** The bytes of a new header. */
export function newHeader({ tableOffset, entries, blockSize, parent }: NewHeader): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES)
  bytes.set(parent?.name ?? [], VALUES_BYTES)
  for (const [i, locator] of (parent?.locators ?? []).entries())
    LOCATOR.write(bytes, locator, LOCATORS_AT + i * LOCATOR.size)
  return encodeHeader(
    {
      cookie: COOKIE,
      nextOffset: 0xffff_ffff_ffff_ffffn,
      tableOffset: BigInt(tableOffset),
      version: 0x10000,
      entries,
      blockSize,
      checksum: 0,
      parentHigh: parent?.high ?? 0n,
      parentLow: parent?.low ?? 0n,
      parentTime: parent?.time ?? 0,
      reserved: 0,
    },
    bytes,
  )
}

/** The bytes of a header with other values. */
export function encodeHeader(values: HeaderValues, before: Uint8Array): Uint8Array {
  const bytes = before.slice()
  VALUES.write(bytes, { ...values, checksum: 0 })
  viewOf(bytes).setUint32(fields.checksum.at, checksumOf(bytes, fields.checksum.at))
  return bytes
}
