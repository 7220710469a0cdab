/** The metadata of a VHDX file: what kind of disk it holds (MS-VHDX, section 2.6). */
import { BlockError, isPowerOfTwo, layout, le, viewOf } from '@vmblock/block-core/driver'
import { type Guid, guidText, guidWords, joinGuid, knownGuid } from './guid.ts'
import { MIB } from './header.ts'

/** Bytes of the table of items, which is where the metadata begins. */
export const METADATA_TABLE_BYTES = 64 * 1024

const SIGNATURE = 0x617461646174656dn
const MAX_ENTRIES = 2047

/** The rest of the 32 bytes in front of the entries is reserved. */
const HEAD_BYTES = 32
const HEAD = layout('VHDX metadata table', 12, {
  signature: le.flags64(0),
  reserved: le.u16(8),
  count: le.u16(10),
})
const ENTRY = layout('VHDX metadata table entry', 32, {
  guidLow: le.flags64(0),
  guidHigh: le.flags64(8),
  offset: le.u32(16),
  length: le.u32(20),
  flags: le.u32(24),
  reserved: le.u32(28),
})
/** Bits of `flags`. */
const Flag = { virtualDisk: 2, required: 4 } as const

const FILE_PARAMETERS = layout('VHDX file parameters', 8, { blockSize: le.u32(0), flags: le.u32(4) })
/** Bits of the file parameters. */
const Parameter = { leaveAllocated: 1, hasParent: 2 } as const

/** The items, by the names of the specification, and the bytes that each has at least. */
const ITEMS = {
  fileParameters: { guid: knownGuid('CAA16737-FA36-4D43-B3B6-33F0AA44E76B'), bytes: 8 },
  virtualSize: { guid: knownGuid('2FA54224-CD1B-4876-B211-5DBED83BF4B8'), bytes: 8 },
  page83: { guid: knownGuid('BECA12AB-B2E6-4523-93EF-C309E000C746'), bytes: 16 },
  logicalSector: { guid: knownGuid('8141BF1D-A96F-4709-BA47-F233A8FAAB5F'), bytes: 4 },
  physicalSector: { guid: knownGuid('CDA348C7-445D-4471-9CC9-E9885251C556'), bytes: 4 },
  parentLocator: { guid: knownGuid('A8D35F2D-B30B-454D-ABF7-D3D84834AB0C'), bytes: 20 },
} as const

type Item = keyof typeof ITEMS
const NAMES = Object.keys(ITEMS) as Item[]

/** Bounds of the block size, in bytes. */
export const BLOCK_SIZE = { least: MIB, most: 256 * MIB } as const
/** Largest disk, in bytes. */
export const MAX_DISK = 64 * 2 ** 40
/** Longest item, in bytes. */
const MAX_ITEM = MIB

/** What kind of disk a file holds. */
export interface Disk {
  /** Bytes. */
  readonly size: number
  readonly blockSize: number
  readonly logicalSector: number
  readonly physicalSector: number
  /** Blocks are all there from the beginning. */
  readonly isFixed: boolean
  readonly hasParent: boolean
}

/** Where an item is, in bytes from the start of the metadata. */
export interface ItemPlace {
  readonly offset: number
  readonly length: number
}

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/**
 * Reads the table of items.
 *
 * @param bytes its {@link METADATA_TABLE_BYTES} bytes
 * @param regionLength bytes of all the metadata
 * @throws BlockError EINVAL if it is damaged; ENOTSUP for an unknown item that is required, and if one is missing
 */
export function parseMetadataTable(
  bytes: Uint8Array,
  regionLength: number,
): Readonly<Partial<Record<Item, ItemPlace>>> {
  const { signature, count } = HEAD.read(bytes)
  if (signature !== SIGNATURE) throw invalid('the VHDX metadata table has the wrong signature')
  if (count > MAX_ENTRIES) throw invalid(`the VHDX metadata table cannot have ${count} entries`)
  const places: Partial<Record<Item, ItemPlace>> = {}
  for (let i = 0; i < count; i++) {
    const { guidLow, guidHigh, offset, length, flags } = ENTRY.read(bytes, HEAD_BYTES + i * ENTRY.size)
    const guid = joinGuid(guidLow, guidHigh)
    const name = NAMES.find((known) => ITEMS[known].guid === guid)
    if (!name) {
      if ((flags & Flag.required) === 0) continue
      throw new BlockError('ENOTSUP', `unknown VHDX metadata ${guidText(guid)}, which is required`)
    }
    if (places[name]) throw invalid(`the VHDX metadata has ${textOf(name)} twice`)
    if (offset < METADATA_TABLE_BYTES || offset + length > regionLength || length > MAX_ITEM)
      throw invalid(
        `the VHDX metadata has ${textOf(name)} at ${offset}-${offset + length}, where it cannot be`,
      )
    if (length < ITEMS[name].bytes)
      throw invalid(`the VHDX metadata has only ${length} bytes for ${textOf(name)}`)
    places[name] = { offset, length }
  }
  for (const name of NAMES)
    if (name !== 'parentLocator' && !places[name])
      throw new BlockError('ENOTSUP', `the VHDX metadata lacks ${textOf(name)}`)
  return places
}

const textOf = (name: Item): string =>
  ({
    fileParameters: 'the file parameters',
    virtualSize: 'the disk size',
    page83: 'the identifier of the disk',
    logicalSector: 'the logical sector size',
    physicalSector: 'the physical sector size',
    parentLocator: 'the parent locator',
  })[name]

/** The bytes of the items that say what kind of disk it is. */
export interface DiskItems {
  readonly fileParameters: Uint8Array
  readonly virtualSize: Uint8Array
  readonly logicalSector: Uint8Array
  readonly physicalSector: Uint8Array
}

/**
 * Reads what kind of disk it is.
 *
 * @throws BlockError EINVAL for values that make no sense; EFBIG for a disk above 64 TiB
 */
export function parseDisk(items: DiskItems): Disk {
  const { blockSize, flags } = FILE_PARAMETERS.read(items.fileParameters)
  const size = le.u64(0).get(viewOf(items.virtualSize), 0)
  const logicalSector = viewOf(items.logicalSector).getUint32(0, true)
  const physicalSector = viewOf(items.physicalSector).getUint32(0, true)
  if (blockSize < BLOCK_SIZE.least || blockSize > BLOCK_SIZE.most || !isPowerOfTwo(blockSize))
    throw invalid(`VHDX block size ${blockSize} is not a power of two from 1 MiB to 256 MiB`)
  if (logicalSector !== 512 && logicalSector !== 4096)
    throw invalid(`VHDX logical sector size ${logicalSector} is neither 512 nor 4096`)
  if (physicalSector !== 512 && physicalSector !== 4096)
    throw invalid(`VHDX physical sector size ${physicalSector} is neither 512 nor 4096`)
  if (size > MAX_DISK) throw new BlockError('EFBIG', `VHDX disk of ${size} bytes is larger than 64 TiB`)
  if (size % logicalSector !== 0) throw invalid(`VHDX disk of ${size} bytes ends within a sector`)
  const has = (bit: number): boolean => (flags & bit) !== 0
  return {
    size,
    blockSize,
    logicalSector,
    physicalSector,
    isFixed: has(Parameter.leaveAllocated),
    hasParent: has(Parameter.hasParent),
  }
}

/** The metadata of a new disk without a parent, up to the last item, byte for byte as in QEMU. */
export function encodeMetadata(disk: Disk, page83: Guid): Uint8Array {
  const order = ['fileParameters', 'virtualSize', 'page83', 'logicalSector', 'physicalSector'] as const
  const itemBytes = order.reduce((sum, name) => sum + ITEMS[name].bytes, 0)
  const bytes = new Uint8Array(METADATA_TABLE_BYTES + itemBytes)
  const view = viewOf(bytes)
  HEAD.write(bytes, { signature: SIGNATURE, reserved: 0, count: order.length })
  const places = {} as Record<(typeof order)[number], number>
  let offset = METADATA_TABLE_BYTES
  for (const [i, name] of order.entries()) {
    const { guid, bytes: length } = ITEMS[name]
    const { low, high } = guidWords(guid)
    const flags = Flag.required | (name === 'fileParameters' ? 0 : Flag.virtualDisk)
    ENTRY.write(
      bytes,
      { guidLow: low, guidHigh: high, offset, length, flags, reserved: 0 },
      HEAD_BYTES + i * ENTRY.size,
    )
    places[name] = offset
    offset += length
  }
  const flags = disk.isFixed ? Parameter.leaveAllocated : 0
  FILE_PARAMETERS.write(bytes, { blockSize: disk.blockSize, flags }, places.fileParameters)
  le.u64(0).set(view, places.virtualSize, disk.size)
  const { low, high } = guidWords(page83)
  view.setBigUint64(places.page83, low, true)
  view.setBigUint64(places.page83 + 8, high, true)
  view.setUint32(places.logicalSector, disk.logicalSector, true)
  view.setUint32(places.physicalSector, disk.physicalSector, true)
  return bytes
}
