/** The directory of persistent bitmaps, and the entries of a bitmap's table. */
import { alignUp, BlockError, be, layout, TWO_32 } from '@vmblock/block-core/driver'
import { concat } from './concat.ts'
import { encodeName } from './encode-name.ts'
import { MAX_BACKING_NAME } from './limits.ts'
import { MAX_BITMAP_BYTES, MAX_BITMAP_DIRECTORY_BYTES, MAX_BITMAP_TABLE_ENTRIES } from './rare-limits.ts'
import { decodeName, wide64 } from './words.ts'

// biome-ignore format: columns, as in the specification
const directoryEntry = layout('bitmap directory entry', 24, {
  tableOffset:     wide64(0),
  tableSize:       be.u32(8),
  flags:           be.u32(12),
  type:            be.u8(16),
  granularityBits: be.u8(17),
  nameSize:        be.u16(18),
  extraDataSize:   be.u32(20),
})

/** Flags of a directory entry. */
export const BitmapFlag = {
  /** Not saved properly: its content is inconsistent. */
  inUse: 1 << 0,
  /** Enabled: every write has to be recorded. */
  auto: 1 << 1,
} as const
const RESERVED_FLAGS = 0xffff_fffc

/** The only type of bitmap: dirty tracking. */
const DIRTY_TRACKING = 1
const MIN_GRANULARITY_BITS = 9
const MAX_GRANULARITY_BITS = 31
/** Bytes of a bitmap's name; the same limit as for a backing file's. */
const MAX_NAME = MAX_BACKING_NAME

/** One bitmap of the directory. */
export interface BitmapEntry {
  /** Bytes, in the file. */
  tableOffset: number
  /** Entries of its table; each stands for one cluster of bitmap data. */
  tableSize: number
  /** See {@link BitmapFlag}. */
  flags: number
  /** One bit stands for `2 ** granularityBits` bytes of the disk. */
  granularityBits: number
  name: string
  /** Where its flags lie in the directory that was read, in bytes; absent in a new entry. */
  flagsAt?: number
}

/** The values on which the rules for a directory entry depend. */
export interface BitmapContext {
  readonly clusterSize: number
  /** Bytes of the disk. */
  readonly size: number
  /** As in the header extension. */
  readonly nbBitmaps: number
}

type RawEntry = ReturnType<typeof directoryEntry.read>

function satisfies(entry: RawEntry, { clusterSize, size }: BitmapContext): boolean {
  const bytes = entry.tableSize * clusterSize
  return (
    entry.tableSize > 0 &&
    entry.tableSize <= MAX_BITMAP_TABLE_ENTRIES &&
    entry.tableOffset > 0 &&
    entry.tableOffset % clusterSize === 0 &&
    entry.granularityBits >= MIN_GRANULARITY_BITS &&
    entry.granularityBits <= MAX_GRANULARITY_BITS &&
    (entry.flags & RESERVED_FLAGS) === 0 &&
    entry.nameSize <= MAX_NAME &&
    entry.type === DIRTY_TRACKING &&
    bytes <= MAX_BITMAP_BYTES &&
    // A bitmap that was not saved may have a former size.
    ((entry.flags & BitmapFlag.inUse) !== 0 || size <= bytes * 8 * 2 ** entry.granularityBits)
  )
}

/**
 * Reads the directory, with the rules and messages of QEMU 7.2 (block/qcow2-bitmap.c).
 *
 * @param bytes all of it
 * @throws BlockError EINVAL
 */
export function parseBitmapDirectory(bytes: Uint8Array, context: BitmapContext): BitmapEntry[] {
  if (bytes.length === 0) throw new BlockError('EINVAL', 'Requested bitmap directory size is zero')
  if (bytes.length > MAX_BITMAP_DIRECTORY_BYTES)
    throw new BlockError('EINVAL', 'Requested bitmap directory size is too big')
  const broken = (): BlockError => new BlockError('EINVAL', 'Broken bitmap directory')
  const entries: BitmapEntry[] = []
  for (let at = 0; at < bytes.length; ) {
    if (at + directoryEntry.size > bytes.length) throw broken()
    if (entries.length === context.nbBitmaps)
      throw new BlockError('EINVAL', 'More bitmaps found than specified in header extension')
    const raw = directoryEntry.read(bytes, at)
    const nameAt = at + directoryEntry.size + raw.extraDataSize
    const next = alignUp(nameAt + raw.nameSize, 8)
    if (next > bytes.length) throw broken()
    if (raw.extraDataSize !== 0) throw new BlockError('EINVAL', 'Bitmap extra data is not supported')
    const name = decodeName(bytes.subarray(nameAt, nameAt + raw.nameSize))
    if (!satisfies(raw, context))
      throw new BlockError('EINVAL', `Bitmap '${name}' doesn't satisfy the constraints`)
    const { tableOffset, tableSize, flags, granularityBits } = raw
    const flagsAt = at + directoryEntry.fields.flags.at
    entries.push({ tableOffset, tableSize, flags, granularityBits, name, flagsAt })
    at = next
  }
  if (entries.length !== context.nbBitmaps)
    throw new BlockError('EINVAL', 'Less bitmaps found than specified in header extension')
  return entries
}

/** Bytes that the entry at `at` of a valid directory takes. */
export const bitmapEntryBytes = (bytes: Uint8Array, at: number): number =>
  alignUp(directoryEntry.size + directoryEntry.read(bytes, at).nameSize, 8)

/** The directory as bytes. */
export function serializeBitmapDirectory(entries: readonly BitmapEntry[]): Uint8Array {
  return concat(
    entries.map((entry) => {
      const name = encodeName(entry.name)
      const bytes = new Uint8Array(alignUp(directoryEntry.size + name.length, 8))
      directoryEntry.write(bytes, { ...entry, type: DIRTY_TRACKING, nameSize: name.length, extraDataSize: 0 })
      bytes.set(name, directoryEntry.size)
      return bytes
    }),
  )
}

/** The content of one cluster of a bitmap. */
export type BitmapCluster =
  | { readonly kind: 'zeroes' }
  | { readonly kind: 'ones' }
  /** `hostOffset` in bytes. */
  | { readonly kind: 'data'; readonly hostOffset: number }

const RESERVED_HI = 0xff00_0000
const RESERVED_LO = 0x1fe
const OFFSET_LO = 0xffff_fe00

/** Decodes an entry of a bitmap's table; undefined if it breaks the rules. */
export function bitmapCluster(hi: number, lo: number, clusterSize: number): BitmapCluster | undefined {
  if ((hi & RESERVED_HI) !== 0 || (lo & RESERVED_LO) !== 0) return undefined
  const hostOffset = hi * TWO_32 + ((lo & OFFSET_LO) >>> 0)
  const ones = (lo & 1) !== 0
  if (hostOffset === 0) return { kind: ones ? 'ones' : 'zeroes' }
  if (ones || hostOffset % clusterSize !== 0) return undefined
  return { kind: 'data', hostOffset }
}
