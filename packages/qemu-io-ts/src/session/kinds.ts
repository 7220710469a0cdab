/** The kinds of options and operands that commands share, with QEMU's error messages. */
import { MAX_REQUEST } from '@vmblock/block-core'
import { type OptionKind, Stop } from './command.ts'
import { readBytes, readLong } from './numbers.ts'
import type { Session } from './session.ts'

/** An option without a value. */
export const flag: OptionKind<true> = { takesValue: false, parse: () => true }

/** Any text. */
export const text: OptionKind<string> = { takesValue: true, parse: (value) => value }

function parseExactSize(value: string, session: Session, shown = value): bigint {
  const size = readBytes(value, () =>
    session.warn(`Using a multiplier suffix on hex numbers is deprecated: ${value}`),
  )
  if (size === 'EINVAL')
    throw new Stop(`Parsing error: non-numeric argument, or extraneous/unrecognized suffix -- ${shown}\n`)
  if (size === 'ERANGE') throw new Stop(`Parsing error: argument too large -- ${shown}\n`)
  return size
}

/**
 * Parses a size or offset in bytes. Above 2^53 the number is rounded: no image is that large, so such a value
 * always leads to an error.
 *
 * @param shown text that messages show instead of the value
 */
export const parseSize = (value: string, session: Session, shown?: string): number =>
  Number(parseExactSize(value, session, shown))

/** A size or offset in bytes. */
export const size: OptionKind<number> = {
  takesValue: true,
  parse: (value, session) => parseSize(value, session),
}

/** A byte value to fill buffers with, or to expect in them: decimal, octal with 0, hexadecimal with 0x. */
export const pattern: OptionKind<number> = {
  takesValue: true,
  parse(value) {
    const byte = readLong(value)
    if (byte === undefined || byte < 0 || byte > 255) throw new Stop(`${value} is not a valid pattern byte\n`)
    return byte
  },
}

/** Refuses a length or offset that is not a multiple of 512 bytes. `word` was already parsed as a size. */
export function requireSectors(what: 'offset' | 'count', word: string): void {
  const size = readBytes(word)
  if (typeof size === 'bigint' && size % 512n !== 0n)
    throw new Stop(`${size} is not a sector-aligned value for '${what}'\n`)
}

/** Parses the lengths of a vectored request, in bytes. @throws Stop if one, or their sum, is too large */
export function parseLengths(words: readonly string[], session: Session): readonly number[] {
  let total = 0
  return words.map((word) => {
    const bytes = parseSize(word, session)
    if (bytes > MAX_REQUEST) throw new Stop(`Argument '${word}' exceeds maximum size ${MAX_REQUEST}\n`)
    if (total > MAX_REQUEST - bytes)
      throw new Stop(`The total number of bytes exceed the maximum size ${MAX_REQUEST}\n`)
    total += bytes
    return bytes
  })
}
