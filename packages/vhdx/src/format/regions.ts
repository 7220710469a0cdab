/** The region table, which says where the block allocation table (BAT) and the metadata lie (MS-VHDX, section 2.2.3). */
import { BlockError, layout, le, viewOf } from '@vmblock/block-core/driver'
import { hasRightChecksum, withChecksum } from './crc32c.ts'
import { type Guid, guidText, guidWords, joinGuid, knownGuid } from './guid.ts'
import { MIB } from './header.ts'

/** Host offsets of the two copies of the region table, in bytes. */
export const REGION_TABLE_OFFSETS = [192 * 1024, 256 * 1024] as const
/** Bytes of a copy, all under its checksum. */
export const REGION_TABLE_BYTES = 64 * 1024

const SIGNATURE = 0x69676572
const MAX_ENTRIES = 2047

const head = { signature: le.u32(0), checksum: le.u32(4), count: le.u32(8), reserved: le.u32(12) }
const HEAD = layout('VHDX region table', 16, head)
const ENTRY = layout('VHDX region table entry', 32, {
  guidLow: le.flags64(0),
  guidHigh: le.flags64(8),
  offset: le.u64(16),
  length: le.u32(24),
  flags: le.u32(28),
})
/** Bit of `flags`: a program that does not know the region must not open the file. */
const REQUIRED = 1

const BAT = knownGuid('2DC27766-F623-4200-9D64-115E9BFD4A08')
const METADATA = knownGuid('8B7CA206-4790-4B9A-B8FE-575F050F886E')

/** A part of the file, in bytes. */
export interface Region {
  readonly offset: number
  readonly length: number
}

/** The regions of a file. */
export interface Regions {
  readonly bat: Region
  readonly metadata: Region
  /** All, those of unknown kind and the log among them. */
  readonly all: readonly Region[]
}

const end = ({ offset, length }: Region): number => offset + length

/** Whether two parts of the file have a byte in common. */
export const regionsOverlap = (a: Region, b: Region): boolean => a.offset < end(b) && b.offset < end(a)

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/** Whether a copy of the table is whole. */
export const isRegionTable = (bytes: Uint8Array): boolean =>
  head.signature.get(viewOf(bytes), 0) === SIGNATURE &&
  head.count.get(viewOf(bytes), 0) <= MAX_ENTRIES &&
  hasRightChecksum(bytes)

/**
 * Reads a region table that is whole.
 *
 * @param log where the log lies
 * @throws BlockError EINVAL for regions that overlap, are missing or occur twice, or lie where none can be; ENOTSUP
 *   for an unknown one that is required
 */
export function parseRegions(bytes: Uint8Array, log: Region): Regions {
  const all: Region[] = [log]
  const known = new Map<Guid, Region>()
  const { count } = HEAD.read(bytes)
  for (let i = 0; i < count; i++) {
    const { guidLow, guidHigh, offset, length, flags } = ENTRY.read(bytes, HEAD.size + i * ENTRY.size)
    const region = { offset, length }
    const other = all.find((earlier) => regionsOverlap(earlier, region))
    if (other)
      throw invalid(`VHDX region ${offset}-${end(region)} overlaps with region ${other.offset}-${end(other)}`)
    all.push(region)
    const guid = joinGuid(guidLow, guidHigh)
    if (guid !== BAT && guid !== METADATA) {
      if ((flags & REQUIRED) === 0) continue
      throw new BlockError('ENOTSUP', `unknown VHDX region ${guidText(guid)}, which is required`)
    }
    if (known.has(guid)) throw invalid(`the VHDX region table has ${nameOf(guid)} twice`)
    if (offset < MIB || offset % MIB !== 0 || length % MIB !== 0)
      throw invalid(`${nameOf(guid)} of the VHDX image cannot lie at ${offset}-${end(region)}`)
    known.set(guid, region)
  }
  return { bat: required(known, BAT), metadata: required(known, METADATA), all }
}

const nameOf = (guid: Guid): string => (guid === BAT ? 'the block allocation table' : 'the metadata')

function required(known: ReadonlyMap<Guid, Region>, guid: Guid): Region {
  const region = known.get(guid)
  if (!region) throw invalid(`the VHDX region table lacks ${nameOf(guid)}`)
  return region
}

/** The bytes of a region table, as QEMU writes it: with both regions marked as not required. */
export function encodeRegions(bat: Region, metadata: Region): Uint8Array {
  const bytes = new Uint8Array(REGION_TABLE_BYTES)
  const both = [
    { guid: BAT, region: bat },
    { guid: METADATA, region: metadata },
  ]
  HEAD.write(bytes, { signature: SIGNATURE, checksum: 0, count: both.length, reserved: 0 })
  for (const [i, { guid, region }] of both.entries()) {
    const { low, high } = guidWords(guid)
    ENTRY.write(bytes, { guidLow: low, guidHigh: high, ...region, flags: 0 }, HEAD.size + i * ENTRY.size)
  }
  return withChecksum(bytes)
}
