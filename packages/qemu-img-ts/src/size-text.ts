/** Sizes and numbers as QEMU reads them from a command line, exact up to 64 bits. */
import type { Output } from './output.ts'
import { Failure } from './output.ts'

const MAX_UINT64 = 0xffff_ffff_ffff_ffffn
const MAX_INT64 = 0x7fff_ffff_ffff_ffffn
const SUFFIXES = 'bkmgtpe'

/** Why a text is no number: not of that form, or beyond 64 bits. */
export type NumberMistake = 'EINVAL' | 'ERANGE'

/** Takes QEMU's warnings, without prefix and newline. */
export type Warn = (message: string) => void

/**
 * Reads a size: decimal digits, perhaps a fraction, and one suffix of b k M G T P E in any case; or hexadecimal
 * digits. A fraction needs a suffix larger than `b`. (`do_strtosz` of QEMU's util/cutils.c.)
 *
 * @returns bytes, below 2^64
 */
export function readSize(text: string, warn: Warn): bigint | NumberMistake {
  const match = /^\s*\+?(?:0x(?<hex>[0-9a-f]+)|(?<whole>\d+)(?<fraction>\.\d*)?)(?<suffix>[bkmgtpe])?$/i.exec(
    text,
  )
  if (!match?.groups) return 'EINVAL'
  const { hex, whole, fraction = '.', suffix } = match.groups
  // In a hexadecimal number `b` and `e` are digits, as the pattern has it.
  if (hex !== undefined && suffix !== undefined)
    warn(`Using a multiplier suffix on hex numbers is deprecated: ${text}`)
  const value = BigInt(hex === undefined ? (whole ?? '0') : `0x${hex}`)
  if (value > MAX_UINT64) return 'ERANGE'
  const power = SUFFIXES.indexOf((suffix ?? 'b').toLowerCase())
  // A fixed-point fraction of 64 bits, as QEMU has it, so that rounding is the same.
  const part = fraction === '.' ? 0n : BigInt(Math.floor(Number(`0${fraction}`) * 2 ** 64))
  if (power === 0) return part === 0n ? value : 'EINVAL'
  const multiplier = 1n << BigInt(10 * power)
  const bytes = value * multiplier + ((part * multiplier + (1n << 63n)) >> 64n)
  return bytes > MAX_UINT64 ? 'ERANGE' : bytes
}

/** Reads a number as C's `strtoull(text, &end, 0)` does: decimal, octal after 0, hexadecimal after 0x; may wrap. */
export function readNumber(text: string): bigint | NumberMistake {
  const match = /^\s*(?<sign>[-+]?)(?:0x(?<hex>[0-9a-f]+)|(?<octal>0[0-7]*)|(?<decimal>[1-9]\d*))$/i.exec(
    text,
  )
  if (!match?.groups) return 'EINVAL'
  const { sign, hex, octal, decimal } = match.groups
  const value = BigInt(hex !== undefined ? `0x${hex}` : octal !== undefined ? `0o${octal}` : (decimal ?? '0'))
  if (value > MAX_UINT64) return 'ERANGE'
  return sign === '-' ? BigInt.asUintN(64, -value) : value
}

/**
 * The value of an option or operand that is a size, `what` naming it in messages.
 *
 * @throws Failure in QEMU's words (`cvtnum` of qemu-img.c)
 */
export function requireSize(what: string, text: string, output: Output): bigint {
  const bytes = readSize(text, (line) => output.warn(line))
  if (bytes === 'EINVAL')
    throw new Failure(
      [
        `Invalid ${what} specified. You may use k, M, G, T, P or E suffixes for`,
        'kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes.',
      ],
      {},
    )
  if (bytes === 'ERANGE' || bytes > MAX_INT64)
    throw new Failure(`Invalid ${what} specified. Must be between 0 and ${MAX_INT64}.`)
  return bytes
}
