/** The headers and entries of ESX's space-efficient sparse extents. QEMU: block/vmdk.c, from captured images: no document tells. */
import { BlockError, type Layout, layout, le, SECTOR, TWO_32, viewOf } from '@vmblock/block-core/driver'

/** The first 64 bits of such an extent. */
export const SE_MAGIC = 0xcafebaben
const VERSION = 0x2_0000_0001n
const VOLATILE_MAGIC = 0xcafecafen
/** Sectors of a grain. */
const GRAIN = 8n
/** Sectors of a grain table. */
const TABLE = 64n

// All sectors, and all hostile.
const fields = {
  magic: le.flags64(0),
  version: le.flags64(8),
  capacity: le.flags64(16),
  grainSize: le.flags64(24),
  tableSize: le.flags64(32),
  flags: le.flags64(40),
  reserved1: le.flags64(48),
  reserved2: le.flags64(56),
  reserved3: le.flags64(64),
  reserved4: le.flags64(72),
  volatileOffset: le.flags64(80),
  volatileSize: le.flags64(88),
  journalHeaderOffset: le.flags64(96),
  journalHeaderSize: le.flags64(104),
  journalOffset: le.flags64(112),
  journalSize: le.flags64(120),
  directoryOffset: le.flags64(128),
  directorySize: le.flags64(136),
  tablesOffset: le.flags64(144),
  tablesSize: le.flags64(152),
  bitmapOffset: le.flags64(160),
  bitmapSize: le.flags64(168),
  backmapOffset: le.flags64(176),
  backmapSize: le.flags64(184),
  grainsOffset: le.flags64(192),
  grainsSize: le.flags64(200),
}

/** The constant header; zeroes fill the sector. */
export const SE_HEADER: Layout<typeof fields> = layout('seSparse header', 208, fields)

const volatileFields = {
  magic: le.flags64(0),
  freeTable: le.flags64(8),
  nextTransaction: le.flags64(16),
  replayJournal: le.flags64(24),
}

/** The volatile header; zeroes fill the sector. */
export const SE_VOLATILE: Layout<typeof volatileFields> = layout(
  'seSparse volatile header',
  32,
  volatileFields,
)

/** What such an extent says of itself, in bytes. */
export interface SeHeader {
  readonly capacity: number
  readonly volatile: number
  readonly directory: number
  /** Entries of the directory that the disk needs. */
  readonly directoryEntries: number
  readonly tables: number
  readonly tablesSize: number
  readonly grains: number
}

/** Bytes of a grain. */
export const SE_GRAIN = Number(GRAIN) * SECTOR
/** Entries of a grain table. */
export const SE_ENTRIES = (Number(TABLE) * SECTOR) / 8
/** The largest disk, in sectors: 64 TiB. */
const MOST_SECTORS = 2n ** 37n

const hex = (value: bigint): string => `0x${value.toString(16).padStart(16, '0')}`
const unsupported = (message: string): BlockError => new BlockError('ENOTSUP', message)

function bytesOf(sectors: bigint, what: string): number {
  if (sectors > 2n ** 43n)
    throw new BlockError('EFBIG', `${what} is at sector ${sectors}, which is out of reach`)
  return Number(sectors) * SECTOR
}

/** Reads and validates the constant header. @throws BlockError in QEMU's words and order */
export function parseSeHeader(sector: Uint8Array): SeHeader {
  const raw = SE_HEADER.read(sector)
  if (raw.magic !== SE_MAGIC) throw unsupported(`Bad const header magic: ${hex(raw.magic)}`)
  if (raw.version !== VERSION) throw unsupported(`Unsupported version: ${hex(raw.version)}`)
  if (raw.grainSize !== GRAIN) throw unsupported(`Unsupported grain size: ${raw.grainSize}`)
  if (raw.tableSize !== TABLE) throw unsupported(`Unsupported grain table size: ${raw.tableSize}`)
  if (raw.flags !== 0n) throw unsupported(`Unsupported flags: ${hex(raw.flags)}`)
  const reserved = [raw.reserved1, raw.reserved2, raw.reserved3, raw.reserved4]
  if (reserved.some((each) => each !== 0n))
    throw unsupported(`Unsupported reserved bits: ${reserved.map(hex).join(' ')}`)
  if (sector.subarray(SE_HEADER.size, SECTOR).some((byte) => byte !== 0))
    throw unsupported('Unsupported non-zero const header padding')
  if (raw.capacity > MOST_SECTORS) throw unsupported('L1 size too big')
  const capacity = Number(raw.capacity) * SECTOR
  return {
    capacity,
    volatile: bytesOf(raw.volatileOffset, 'The volatile header'),
    directory: bytesOf(raw.directoryOffset, 'The grain directory'),
    directoryEntries: Math.ceil(capacity / (SE_GRAIN * SE_ENTRIES)),
    tables: bytesOf(raw.tablesOffset, 'The first grain table'),
    tablesSize: bytesOf(raw.tablesSize, 'The end of the grain tables'),
    grains: bytesOf(raw.grainsOffset, 'The first grain'),
  }
}

/** Validates the volatile header. @throws BlockError in QEMU's words */
export function checkSeVolatile(sector: Uint8Array): void {
  const { magic, replayJournal } = SE_VOLATILE.read(sector)
  if (magic !== VOLATILE_MAGIC) throw unsupported(`Bad volatile header magic: ${hex(magic)}`)
  if (replayJournal !== 0n) throw unsupported('Image is dirty, Replaying journal not supported')
  if (sector.subarray(SE_VOLATILE.size, SECTOR).some((byte) => byte !== 0))
    throw unsupported('Unsupported non-zero volatile header padding')
}

/** The table that an entry of the directory names. @returns undefined for none; NaN for an entry that makes no sense */
export function tableOf(view: DataView, index: number): number | undefined {
  const low = view.getUint32(index * 8, true)
  const high = view.getUint32(index * 8 + 4, true)
  if (low === 0 && high === 0) return undefined
  return high === 0x1000_0000 ? low : Number.NaN
}

/** A grain: its number, or what is known of it. */
export type SeGrain = number | 'unallocated' | 'zero' | 'broken'

/** The grain that an entry of a table names: the number's low 12 bits stand above its high 48. */
export function grainOf(view: DataView, index: number): SeGrain {
  const low = view.getUint32(index * 8, true)
  const high = view.getUint32(index * 8 + 4, true)
  switch (high >>> 28) {
    case 0:
      return low === 0 && high === 0 ? 'unallocated' : 'broken'
    case 1:
    case 2:
      return 'zero'
    case 3: {
      const number = ((high >>> 16) & 0xfff) + ((high & 0xffff) * TWO_32 + low) * 4096
      return number <= Number.MAX_SAFE_INTEGER / SE_GRAIN / 2 ? number : 'broken'
    }
    default:
      return 'broken'
  }
}

/** Whether the beginning of a file is that of such an extent. */
export const isSeSparse = (sector: Uint8Array): boolean =>
  sector.length >= 8 && viewOf(sector).getBigUint64(0, true) === SE_MAGIC
