/**
 * The two headers of a VHDX file. The valid one with the higher sequence number counts, so that one can always be
 * written while the other is whole (MS-VHDX, section 2.2.2).
 */
import { BlockError, layout, le, type ValueOf } from '@vmblock/block-core/driver'
import { hasRightChecksum, withChecksum } from './crc32c.ts'
import { type Guid, guidWords, joinGuid } from './guid.ts'

/** One MiB: the unit of all places in the file, and where the headers' section ends. Bytes. */
export const MIB = 2 ** 20

/** The first eight bytes of the file. */
export const FILE_SIGNATURE = 'vhdxfile'
/** Host offsets of the two headers, in bytes. */
export const HEADER_OFFSETS = [64 * 1024, 128 * 1024] as const
/** Bytes of a header, all under its checksum. */
export const HEADER_BYTES = 4096

const SIGNATURE = 0x64616568
const VERSION = 1

const fields = {
  /** `head` */
  signature: le.u32(0),
  checksum: le.u32(4),
  sequence: le.flags64(8),
  fileWriteLow: le.flags64(16),
  fileWriteHigh: le.flags64(24),
  dataWriteLow: le.flags64(32),
  dataWriteHigh: le.flags64(40),
  logLow: le.flags64(48),
  logHigh: le.flags64(56),
  logVersion: le.u16(64),
  version: le.u16(66),
  logLength: le.u32(68),
  logOffset: le.u64(72),
}

const HEADER = layout('VHDX header', 80, fields)

/** A header's values. */
export interface Header {
  readonly sequence: bigint
  /** Changes with each session that writes anything. */
  readonly fileWriteGuid: Guid
  /** Changes with each session that writes what a guest can see: children compare it. */
  readonly dataWriteGuid: Guid
  /** Which entries of the log count; `NO_GUID` if none. */
  readonly logGuid: Guid
  readonly logVersion: number
  /** Host offset and bytes of the log. */
  readonly logOffset: number
  readonly logLength: number
}

/**
 * Reads a header from its {@link HEADER_BYTES} bytes.
 *
 * @returns undefined if it is not valid
 * @throws BlockError EFBIG for an offset of the log above 2^53-1
 */
export function decodeHeader(bytes: Uint8Array): Header | undefined {
  const signature = fields.signature.get(new DataView(bytes.buffer, bytes.byteOffset), 0)
  if (signature !== SIGNATURE || !hasRightChecksum(bytes)) return undefined
  const raw: ValueOf<typeof fields> = HEADER.read(bytes)
  if (raw.version !== VERSION) return undefined
  const { sequence, logVersion, logOffset, logLength } = raw
  return {
    sequence,
    fileWriteGuid: joinGuid(raw.fileWriteLow, raw.fileWriteHigh),
    dataWriteGuid: joinGuid(raw.dataWriteLow, raw.dataWriteHigh),
    logGuid: joinGuid(raw.logLow, raw.logHigh),
    logVersion,
    logOffset,
    logLength,
  }
}

/** The bytes of a header. */
export function encodeHeader(header: Header): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES)
  const [fileWrite, dataWrite, log] = [header.fileWriteGuid, header.dataWriteGuid, header.logGuid].map(
    guidWords,
  )
  HEADER.write(bytes, {
    signature: SIGNATURE,
    checksum: 0,
    sequence: header.sequence,
    fileWriteLow: fileWrite!.low,
    fileWriteHigh: fileWrite!.high,
    dataWriteLow: dataWrite!.low,
    dataWriteHigh: dataWrite!.high,
    logLow: log!.low,
    logHigh: log!.high,
    logVersion: header.logVersion,
    version: VERSION,
    logLength: header.logLength,
    logOffset: header.logOffset,
  })
  return withChecksum(bytes)
}

const isSame = (a: Header, b: Header): boolean =>
  (Object.keys(a) as (keyof Header)[]).every((key) => a[key] === b[key])

/**
 * Chooses the current header.
 *
 * @returns 0 or 1
 * @throws BlockError EINVAL if neither is valid, or both claim to be current
 */
export function currentHeader(first: Header | undefined, second: Header | undefined): 0 | 1 {
  if (first && !second) return 0
  if (!first && second) return 1
  // Disk2VHD writes two identical headers.
  if (first && second && (first.sequence !== second.sequence || isSame(first, second)))
    return first.sequence >= second.sequence ? 0 : 1
  throw new BlockError('EINVAL', 'No valid VHDX header found')
}
