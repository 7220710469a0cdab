/** The kinds of options and operands that commands share, with QEMU's error messages. */
import { MAX_REQUEST } from '@vmblock/block-core/driver'
import { type OptionKind, readBytes, readLong, type Warn } from '@vmblock/cli'
import { Stop } from './command.ts'

/**
 * Parses a size or offset in bytes. Above 2^53 the number is rounded: no image is that large, so such a value
 * always leads to an error.
 *
 * @param shown text that messages show instead of the value
 * @throws Stop
 */
export function parseSize(value: string, warn: Warn, shown = value): number {
  const size = readBytes(value, warn)
  if (size === 'EINVAL')
    throw new Stop(`Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- ${shown}\n`)
  if (size === 'ERANGE') throw new Stop(`Parsing error: argument too large -- ${shown}\n`)
  return Number(size)
}

/** A size or offset in bytes. */
export const size: OptionKind<number> = { argument: 'bytes', read: (value, warn) => parseSize(value, warn) }

/** A byte value to fill buffers with, or to expect in them: decimal, octal with 0, hexadecimal with 0x. */
export const pattern: OptionKind<number> = {
  argument: 'byte',
  read(value) {
    const byte = readLong(value)
    if (byte === undefined || byte < 0 || byte > 255) throw new Stop(`${value} is not a valid pattern byte\n`)
    return byte
  },
}

/** Adds up the lengths of a vectored request, in bytes. @throws Stop if one, or the sum, is too large */
export function parseLengths(words: readonly string[], warn: Warn): number {
  let total = 0
  for (const word of words) {
    const bytes = parseSize(word, warn)
    if (bytes > MAX_REQUEST) throw new Stop(`Argument '${word}' exceeds maximum size ${MAX_REQUEST}\n`)
    if (total > MAX_REQUEST - bytes)
      throw new Stop(`The total number of bytes exceed the maximum size ${MAX_REQUEST}\n`)
    total += bytes
  }
  return total
}
