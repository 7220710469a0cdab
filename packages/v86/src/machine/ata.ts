/** The ATA command set, as needed for flushes, discards and failures. Numbers from ATA8-ACS and ACS-3. */
import { viewOf } from '@vmblock/block-core/driver'

/** Commands. */
export const ATA = {
  dataSetManagement: 0x06,
  writeDmaExt: 0x35,
  writeSectors: 0x30,
  standbyImmediate: 0xe0,
  flushCache: 0xe7,
  flushCacheExt: 0xea,
  setFeatures: 0xef,
} as const

/** Bits of the status register. */
export const STATUS = { error: 0x01, dataRequest: 0x08, seekComplete: 0x10, ready: 0x40, busy: 0x80 } as const

/** Bits of the error register. */
export const ERROR = { uncorrectable: 0x40 } as const

/** Subcommands of SET FEATURES. */
export const FEATURE = { enableWriteCache: 0x02, disableWriteCache: 0x82 } as const

/** The bit of the features register that makes DATA SET MANAGEMENT a TRIM. */
export const TRIM = 0x01

/** Bytes of one range in a TRIM. */
const RANGE = 8

/** Words of IDENTIFY DEVICE. */
const WORD = { version: 80, supported: 82, enabled: 85, trimBlocks: 105, dataSetManagement: 169 } as const

/** Bit of words 82 and 85: the volatile write cache. */
const WRITE_CACHE = 1 << 5
/**
 * Word 80: ATA/ATAPI-4 to ATA/ATAPI-7. Linux sends no TRIM to older drives, and reads logs from newer ones
 * that this drive does not have.
 */
const VERSIONS = 0x00f0
/** Word 105: the number of 512-byte blocks of ranges that one command takes. */
const TRIM_BLOCKS = 8

/** Announces a write cache in an IDENTIFY packet, and TRIM if `trim` is set. */
export function describeCache(packet: Uint8Array, writeCache: boolean, trim: boolean): void {
  const view = viewOf(packet)
  const set = (word: number, bits: number): void =>
    view.setUint16(word * 2, view.getUint16(word * 2, true) | bits, true)
  set(WORD.supported, WRITE_CACHE)
  if (writeCache) set(WORD.enabled, WRITE_CACHE)
  if (!trim) return
  set(WORD.version, VERSIONS)
  set(WORD.trimBlocks, TRIM_BLOCKS)
  set(WORD.dataSetManagement, TRIM)
}

/** Sectors that a guest discards. */
export interface TrimRange {
  readonly sector: number
  readonly count: number
}

/** Decodes the ranges of a TRIM: 48 bits of sector number, 16 of length; ranges of length 0 are padding. */
export function trimRanges(data: Uint8Array): TrimRange[] {
  const view = viewOf(data)
  const ranges: TrimRange[] = []
  for (let at = 0; at + RANGE <= data.length; at += RANGE) {
    const count = view.getUint16(at + 6, true)
    const sector = view.getUint16(at + 4, true) * 2 ** 32 + view.getUint32(at, true)
    if (count > 0) ranges.push({ sector, count })
  }
  return ranges
}
