/**
 * The tables of chunks ("mish"), one for each partition: what each run of sectors is, and where in the file. Big endian.
 * Apple does not describe them; these are the facts that independent readers agree on, and QEMU's limits.
 */
import { BlockError, be, layout, SECTOR } from '@vmblock/block-core/driver'
import { exactOffset, MAX_SECTORS } from './trailer.ts'

/** The beginning of a table. A checksum follows, and the number of chunks, which the size of the table says, too. */
const TABLE = layout('dmg table', 40, {
  magic: be.u32(0),
  version: be.u32(4),
  firstSector: be.flags64(8),
  sectors: be.flags64(16),
  dataOffset: be.flags64(24),
  buffers: be.u32(32),
  descriptor: be.u32(36),
})
const MISH = 0x6d697368
/** Where the chunks begin, in bytes. */
const CHUNKS_AT = 204

const CHUNK = layout('dmg chunk', 40, {
  type: be.u32(0),
  comment: be.u32(4),
  sector: be.flags64(8),
  sectors: be.flags64(16),
  offset: be.flags64(24),
  length: be.flags64(32),
})

/** The types of chunks, by what they are. */
export const TYPE = {
  zero: 0,
  raw: 1,
  ignore: 2,
  adc: 0x80000004,
  zlib: 0x80000005,
  bzip2: 0x80000006,
  lzfse: 0x80000007,
  lzma: 0x80000008,
  comment: 0x7ffffffe,
  end: 0xffffffff,
} as const

/** The most sectors of a chunk that is compressed, as in QEMU: 64 MiB. */
const MAX_CHUNK = 131072n
/** The most bytes of its data, as in QEMU. */
const MAX_DATA = 67108864n

/** A run of sectors. */
export interface Chunk {
  /** One of {@link TYPE}, or another that is not known. */
  readonly type: number
  /** Guest offset, in bytes. */
  readonly start: number
  /** Of the guest. */
  readonly bytes: number
  /** Where its data is in the file, in bytes; 0 where it has none. */
  readonly host: number
  /** Of the data. */
  readonly hostBytes: number
}

/** Whether chunks of a type have no data, and read as zeroes. */
export const isZeroType = (type: number): boolean => type === TYPE.zero || type === TYPE.ignore

/**
 * Reads a table.
 *
 * @param table other data, or too little of it, has no chunks
 * @param dataForkOffset to which the offsets of chunks refer, in bytes
 * @param chunks gets those of the table
 * @throws BlockError EINVAL in QEMU's words for chunks that are too large; EFBIG for numbers beyond 2^53-1
 */
export function readTable(table: Uint8Array, dataForkOffset: number, chunks: Chunk[]): void {
  if (table.length < CHUNKS_AT + CHUNK.size) return
  const { magic, firstSector, dataOffset } = TABLE.read(table)
  if (magic !== MISH) return
  const base = BigInt(dataForkOffset) + dataOffset
  for (let at = CHUNKS_AT; at + CHUNK.size <= table.length; at += CHUNK.size) {
    const { type, sector, sectors, offset, length } = CHUNK.read(table, at)
    if (type === TYPE.comment || type === TYPE.end || sectors === 0n) continue
    const index = chunks.length
    const isZero = isZeroType(type)
    if (!isZero && type !== TYPE.raw) {
      if (sectors > MAX_CHUNK)
        throw new BlockError(
          'EINVAL',
          `sector count ${sectors} for chunk ${index} is larger than max (${MAX_CHUNK})`,
        )
      if (length > MAX_DATA)
        throw new BlockError('EINVAL', `length ${length} for chunk ${index} is larger than max (${MAX_DATA})`)
    }
    const first = firstSector + sector
    if (first + sectors > MAX_SECTORS)
      throw new BlockError('EFBIG', `chunk ${index} ends at sector ${first + sectors}, behind 2^53-1 bytes`)
    const host = isZero ? 0n : base + offset
    chunks.push({
      type,
      start: Number(first) * SECTOR,
      bytes: Number(sectors) * SECTOR,
      host: exactOffset(host, `the offset of chunk ${index}`),
      hostBytes: isZero ? 0 : exactOffset(length, `the length of chunk ${index}`),
    })
  }
}
