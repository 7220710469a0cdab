/**
 * Entries of the log: sectors of metadata that are to be written elsewhere, all or none (MS-VHDX, section 2.3.1).
 *
 *     sector 0     header of 64 bytes, 126 descriptors
 *     more         128 descriptors each
 *     then         a data sector for each data descriptor
 *
 * The first 8 and the last 4 bytes of a data sector are in its descriptor: in their places are a signature and the
 * sequence number.
 */
import { alignUp, type Layout, layout, le, viewOf } from '@vmblock/block-core/driver'
import { hasRightChecksum, withChecksum } from './crc32c.ts'
import { type Guid, guidWords, joinGuid } from './guid.ts'

/** Bytes of a sector of the log, whatever the sectors of the disk are. */
export const LOG_SECTOR = 4096
/** Bytes of the header of an entry. */
export const ENTRY_HEAD_BYTES = 64

const DESCRIPTOR_BYTES = 32
const [ENTRY_SIGNATURE, DATA_DESCRIPTOR, ZERO_DESCRIPTOR, DATA_SECTOR] = [
  0x65676f6c, // loge
  0x63736564, // desc
  0x6f72657a, // zero
  0x61746164, // data
]

const headFields = {
  signature: le.u32(0),
  checksum: le.u32(4),
  /** Bytes of the entry. */
  length: le.u32(8),
  /** Where the oldest entry is that still counts, in bytes from the start of the log. */
  tail: le.u32(12),
  sequence: le.flags64(16),
  descriptors: le.u32(24),
  reserved: le.u32(28),
  logLow: le.flags64(32),
  logHigh: le.flags64(40),
  /** Bytes of the file that were durable when the entry was written. */
  flushedOffset: le.flags64(48),
  /** Bytes that the file needs. */
  lastOffset: le.flags64(56),
}
const HEAD: Layout<typeof headFields> = layout('VHDX log entry', ENTRY_HEAD_BYTES, headFields)

const DESCRIPTOR = layout('VHDX log descriptor', DESCRIPTOR_BYTES, {
  signature: le.u32(0),
  /** Data: the last bytes of the sector. */
  trailing: le.u32(4),
  /** Data: the first bytes of the sector. Zeroes: how many bytes. */
  leading: le.flags64(8),
  offset: le.flags64(16),
  sequence: le.flags64(24),
})

/** The header of an entry. Offsets and lengths are bytes. */
export interface EntryHead {
  readonly length: number
  readonly tail: number
  readonly sequence: bigint
  readonly descriptors: number
  readonly logGuid: Guid
  readonly flushedOffset: bigint
  readonly lastOffset: bigint
}

/** A change that an entry makes: one sector of data, or zeroes. Multiples of {@link LOG_SECTOR}. */
export type LoggedChange =
  | { readonly offset: bigint; readonly data: Uint8Array }
  | { readonly offset: bigint; readonly zeroes: bigint }

/** Sectors that a header and its descriptors take. */
const headSectors = (descriptors: number): number =>
  alignUp(ENTRY_HEAD_BYTES + descriptors * DESCRIPTOR_BYTES, LOG_SECTOR) / LOG_SECTOR

/** Bytes of an entry with `count` data sectors. */
export const entryBytes = (count: number): number => (headSectors(count) + count) * LOG_SECTOR

/** How many data sectors fit into an entry of at most `bytes`. */
export function sectorsThatFit(bytes: number): number {
  const sectors = Math.floor(bytes / LOG_SECTOR)
  let count = Math.max(sectors - 1, 0)
  while (count > 0 && headSectors(count) + count > sectors) count--
  return count
}

/**
 * Reads the header of an entry, without its checksum.
 *
 * @param logLength bytes of the log
 * @returns undefined if no entry of the log `guid` can be here
 */
export function decodeEntryHead(bytes: Uint8Array, guid: Guid, logLength: number): EntryHead | undefined {
  if (headFields.signature.get(viewOf(bytes), 0) !== ENTRY_SIGNATURE) return undefined
  const raw = HEAD.read(bytes)
  const { length, tail, sequence, descriptors, flushedOffset, lastOffset } = raw
  const logGuid = joinGuid(raw.logLow, raw.logHigh)
  const isPossible =
    logGuid === guid &&
    sequence > 0n &&
    length > 0 &&
    length <= logLength &&
    length % LOG_SECTOR === 0 &&
    tail < logLength &&
    tail % LOG_SECTOR === 0 &&
    headSectors(descriptors) * LOG_SECTOR <= length
  return isPossible ? { length, tail, sequence, descriptors, logGuid, flushedOffset, lastOffset } : undefined
}

/**
 * Reads what an entry changes.
 *
 * @param bytes the whole entry
 * @returns undefined if the entry is not whole, or contradicts itself
 */
export function decodeEntryChanges(bytes: Uint8Array, head: EntryHead): LoggedChange[] | undefined {
  if (!hasRightChecksum(bytes)) return undefined
  const changes: LoggedChange[] = []
  let at = headSectors(head.descriptors) * LOG_SECTOR
  for (let i = 0; i < head.descriptors; i++) {
    const descriptor = DESCRIPTOR.read(bytes, ENTRY_HEAD_BYTES + i * DESCRIPTOR_BYTES)
    const { signature, leading, trailing, offset, sequence } = descriptor
    if (sequence !== head.sequence || offset % BigInt(LOG_SECTOR) !== 0n) return undefined
    if (signature === ZERO_DESCRIPTOR) {
      if (leading % BigInt(LOG_SECTOR) !== 0n) return undefined
      changes.push({ offset, zeroes: leading })
    } else {
      if (signature !== DATA_DESCRIPTOR || at + LOG_SECTOR > bytes.length) return undefined
      const data = bytes.slice(at, at + LOG_SECTOR)
      const view = viewOf(data)
      const found = (BigInt(view.getUint32(4, true)) << 32n) | BigInt(view.getUint32(LOG_SECTOR - 4, true))
      if (view.getUint32(0, true) !== DATA_SECTOR || found !== sequence) return undefined
      view.setBigUint64(0, leading, true)
      view.setUint32(LOG_SECTOR - 4, trailing, true)
      changes.push({ offset, data })
      at += LOG_SECTOR
    }
  }
  return changes
}

/** What {@link encodeEntry} has to know. Offsets are bytes. */
export interface NewEntry {
  readonly tail: number
  readonly sequence: bigint
  readonly logGuid: Guid
  readonly flushedOffset: number
  readonly lastOffset: number
  /** Sectors of {@link LOG_SECTOR} bytes, by host offset. */
  readonly sectors: readonly (readonly [offset: number, data: Uint8Array])[]
}

/** The bytes of an entry that writes sectors. */
export function encodeEntry({ sectors, sequence, ...rest }: NewEntry): Uint8Array {
  const bytes = new Uint8Array(entryBytes(sectors.length))
  const { low, high } = guidWords(rest.logGuid)
  HEAD.write(bytes, {
    signature: ENTRY_SIGNATURE!,
    checksum: 0,
    length: bytes.length,
    tail: rest.tail,
    sequence,
    descriptors: sectors.length,
    reserved: 0,
    logLow: low,
    logHigh: high,
    flushedOffset: BigInt(rest.flushedOffset),
    lastOffset: BigInt(rest.lastOffset),
  })
  const start = headSectors(sectors.length) * LOG_SECTOR
  for (const [i, [offset, data]] of sectors.entries()) {
    const view = viewOf(data)
    DESCRIPTOR.write(
      bytes,
      {
        signature: DATA_DESCRIPTOR!,
        trailing: view.getUint32(LOG_SECTOR - 4, true),
        leading: view.getBigUint64(0, true),
        offset: BigInt(offset),
        sequence,
      },
      ENTRY_HEAD_BYTES + i * DESCRIPTOR_BYTES,
    )
    const at = start + i * LOG_SECTOR
    bytes.set(data, at)
    const sector = viewOf(bytes.subarray(at, at + LOG_SECTOR))
    sector.setUint32(0, DATA_SECTOR!, true)
    sector.setUint32(4, Number(sequence >> 32n), true)
    sector.setUint32(LOG_SECTOR - 4, Number(sequence & 0xffff_ffffn), true)
  }
  return withChecksum(bytes)
}
