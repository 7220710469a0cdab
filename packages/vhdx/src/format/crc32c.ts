/** CRC-32C, the checksum of every VHDX structure (polynomial of Castagnoli, reflected; RFC 3720, appendix B.4). */
import { viewOf } from '@vmblock/block-core/driver'

const POLYNOMIAL = 0x82f63b78

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ POLYNOMIAL : crc >>> 1
  return crc
})

/** The checksum of `bytes`. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 0xff]! ^ (crc >>> 8)
  return ~crc >>> 0
}

/** Where every structure with a checksum has it, in bytes from its start. */
const CHECKSUM_AT = 4

/** The checksum of a structure, with its own field taken as zero. Changes the field to zero, and puts it back. */
function checksumOf(structure: Uint8Array): number {
  const view = viewOf(structure)
  const field = view.getUint32(CHECKSUM_AT, true)
  view.setUint32(CHECKSUM_AT, 0, true)
  const checksum = crc32c(structure)
  view.setUint32(CHECKSUM_AT, field, true)
  return checksum
}

/** Whether the checksum of a structure is right. */
export const hasRightChecksum = (structure: Uint8Array): boolean =>
  viewOf(structure).getUint32(CHECKSUM_AT, true) === checksumOf(structure)

/** Sets the checksum of a structure. @returns the structure */
export function withChecksum(structure: Uint8Array): Uint8Array {
  viewOf(structure).setUint32(CHECKSUM_AT, checksumOf(structure), true)
  return structure
}
