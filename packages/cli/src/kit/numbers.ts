/** Numbers as the programs read them: sizes with suffixes, and C's `long`. */
import { type NumberMistake, readInteger, readSize } from '@vmblock/block-core/driver'
import type { Warn } from './options.ts'

/** The largest size in bytes that most options take: QEMU holds it in a signed number. */
export const MAX_SIZE = 0x7fff_ffff_ffff_ffffn

/**
 * Reads a size or an offset.
 *
 * @param warn receives QEMU's warning about a hexadecimal number with a multiplier, which is deprecated
 * @param max the largest size, in bytes; others are out of range
 */
export function readBytes(text: string, warn?: Warn, max = MAX_SIZE): bigint | NumberMistake {
  const bytes = readSize(text, () =>
    warn?.(`Using a multiplier suffix on hex numbers is deprecated: ${text}`),
  )
  return typeof bytes === 'bigint' && bytes > max ? 'ERANGE' : bytes
}

/** Reads a text as C's `strtol(text, &end, 0)` does, rounded above 2^53; undefined if text is left over. */
export function readLong(text: string): number | undefined {
  const value = readInteger(text)
  return value === undefined ? undefined : Number(value)
}
