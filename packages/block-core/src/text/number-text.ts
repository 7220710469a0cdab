/** Numbers as QEMU parses them: sizes like `qemu_strtosz`, whole numbers like C's `strtol` with base 0. */

/** Why a text is not a number: wrong form, or beyond 64 bits. */
export type NumberMistake = 'EINVAL' | 'ERANGE'

const MAX_UINT64 = 0xffff_ffff_ffff_ffffn
const SUFFIXES = 'bkmgtpe'

/** `[blanks][+-]digits`; more may follow. C's strtoull takes a sign; `qemu_strtosz` refuses minus later. */
const WHOLE = /^[\t\n\v\f\r ]*([+-]?)(\d+)/
const HEX = /^[\t\n\v\f\r ]*\+?0x([0-9a-f]+)/i
/** A fraction as strtod reads it, exponent included. */
const FRACTION = /^\.\d+(e[+-]?\d+)?/i

/**
 * Reads a size: decimal with an optional fraction and one suffix of b k M G T P E in any case (powers of
 * 1024), or hexadecimal.
 *
 * A fraction needs a suffix larger than b. It is taken as a 64-bit fixed-point number, and the product is
 * rounded half up (util/cutils.c, `do_strtosz`).
 *
 * @param onScaledHex called if a hexadecimal number has a suffix: QEMU 7.2 accepts it with a warning, and
 *   warns even if the rest of the text is then refused
 * @returns bytes, below 2^64
 */
export function readSize(text: string, onScaledHex?: () => void): bigint | NumberMistake {
  const whole = WHOLE.exec(text)
  if (!whole) return 'EINVAL'
  let value = BigInt(whole[2]!)
  let rest = text.slice(whole[0].length)
  let fraction = 0n
  let isHex = false
  // strtoull reports overflow first; text after the number is noticed next, a minus sign last.
  if (value > MAX_UINT64) return rest === '' ? 'ERANGE' : 'EINVAL'
  if (whole[1] === '-') return 'EINVAL'
  if (value === 0n && /^x/i.test(rest)) {
    const hex = HEX.exec(text)
    if (!hex) return 'EINVAL'
    value = BigInt(`0x${hex[1]}`)
    rest = text.slice(hex[0].length)
    if (value > MAX_UINT64) return rest === '' ? 'ERANGE' : 'EINVAL'
    isHex = true
  } else if (rest.startsWith('.')) {
    const digits = FRACTION.exec(rest)
    if (digits?.[1]) return 'EINVAL'
    rest = rest.slice(digits ? digits[0].length : 1)
    // QEMU converts to a double, and that to 64 bits; so do we, including its overflow at 1.0.
    if (digits) fraction = BigInt.asUintN(64, BigInt(Math.trunc(Number(`0${digits[0]}`) * 2 ** 64)))
  }
  const power = rest === '' ? 0 : SUFFIXES.indexOf(rest[0]!.toLowerCase())
  if (isHex && rest !== '' && power >= 0) onScaledHex?.()
  if (power < 0 || rest.length > 1) return 'EINVAL'
  if (power === 0) return fraction === 0n ? value : 'EINVAL'
  const multiplier = 1n << BigInt(10 * power)
  const bytes = value * multiplier + ((fraction * multiplier + (1n << 63n)) >> 64n)
  return bytes > MAX_UINT64 ? 'ERANGE' : bytes
}

/** Reads a whole number like C: sign, decimal, octal after 0, hexadecimal after 0x; undefined if none. */
export function readInteger(text: string): bigint | undefined {
  const match = /^[\t\n\v\f\r ]*([+-]?)(?:0x([0-9a-f]+)|(0[0-7]*)|([1-9]\d*))$/i.exec(text)
  if (!match) return undefined
  const [, sign, hex, octal, decimal] = match
  const value = BigInt(hex ? `0x${hex}` : octal ? `0o${octal}` : decimal!)
  return sign === '-' ? -value : value
}

/** Reads a whole number as C's `strtoull(text, &end, 0)` does: a negative one wraps around. Below 2^64. */
export function readUnsigned(text: string): bigint | NumberMistake {
  const value = readInteger(text)
  if (value === undefined) return 'EINVAL'
  return (value < 0n ? -value : value) > MAX_UINT64 ? 'ERANGE' : BigInt.asUintN(64, value)
}
