/** The limits of a throttle group as `--object` has them: QEMU's names, alone (`x-bps-total`) or as `limits.bps-total`. */
import type { RawOptions } from '@vmblock/block-core'
import { isTree, readInteger } from '@vmblock/block-core/driver'
import { LIMITS, type ThrottleLimits } from '@vmblock/block-core/filters'
import { Failure } from './failure.ts'

const NAMES: ReadonlyMap<string, keyof ThrottleLimits> = new Map(
  LIMITS.map((name): [string, keyof ThrottleLimits] => [
    name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`),
    name,
  ]),
)

const MAX_INT64 = 2n ** 63n - 1n
const MAX_UINT32 = 2 ** 32 - 1

const fail = (message: string): never => {
  throw new Failure(message)
}

/** A number of the command line, or of JSON. Above 2^53 it is rounded: it is out of range then. */
function numberOf(value: unknown, key: string, isText: boolean): number {
  if (!isText || typeof value !== 'string')
    return Number.isInteger(value)
      ? (value as number)
      : fail(`Invalid parameter type for '${key}', expected: integer`)
  const number = readInteger(value)
  if (number === undefined || number > MAX_INT64 || number < -MAX_INT64 - 1n)
    return fail(`Parameter '${key}' expects integer`)
  return Number(number)
}

/**
 * Reads the properties of a throttle group.
 *
 * @param isText whether they are words of the command line, not JSON, which has numbers
 * @returns rates in bytes or requests a second, lengths in seconds
 * @throws Failure with QEMU's message for an unknown property, and for what is no number of its range
 */
export function throttleLimits(properties: RawOptions, isText: boolean): ThrottleLimits {
  const limits: { -readonly [Key in keyof ThrottleLimits]: ThrottleLimits[Key] } = {}
  const set = (given: string, key: string, value: unknown, isAlone: boolean): void => {
    const name = NAMES.get(key) ?? fail(`Parameter '${given}' is unexpected`)
    const number = numberOf(value, given, isText)
    if (number < 0)
      fail(
        isAlone
          ? 'Property values cannot be negative'
          : 'bps/iops/max values must be within [0, 1000000000000000]',
      )
    if (name.endsWith('Length') && number > MAX_UINT32)
      fail(
        isAlone
          ? `${given} value must be in therange [0, ${MAX_UINT32}]`
          : `${key} value must be in the range [0, ${MAX_UINT32}]`,
      )
    limits[name] = number
  }
  for (const [key, value] of Object.entries(properties)) {
    if (key === 'limits') {
      if (!isTree(value)) fail("Invalid parameter type for 'limits', expected: object")
      for (const [name, one] of Object.entries(value as RawOptions)) set(`limits.${name}`, name, one, false)
    } else set(key, key.startsWith('x-') ? key.slice(2) : '', value, true)
  }
  return limits
}
