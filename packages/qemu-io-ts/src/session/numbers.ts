/** Reads numbers as qemu-io does: sizes are signed 64-bit numbers, patterns and times are C's `long`. */
import { type NumberMistake, readInteger, readSize } from '@vmblock/block-core'

const MAX_INT64 = 0x7fff_ffff_ffff_ffffn

/**
 * Reads a size or an offset.
 *
 * @param onScaledHex called if a hexadecimal number has a multiplier, which is deprecated
 * @returns bytes, up to 2^63-1
 */
export function readBytes(text: string, onScaledHex?: () => void): bigint | NumberMistake {
  const bytes = readSize(text, onScaledHex)
  return typeof bytes === 'bigint' && bytes > MAX_INT64 ? 'ERANGE' : bytes
}

/** Reads a text as C's `strtol(text, &end, 0)` does, rounded above 2^53; undefined if text is left over. */
export function readLong(text: string): number | undefined {
  const value = readInteger(text)
  return value === undefined ? undefined : Number(value)
}
