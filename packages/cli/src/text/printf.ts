/** Formats numbers as C's printf does: decimal places and significant digits, exact halves to even. */

/** `value * 10^digits` as an integer, rounded as printf does: from the exact binary value, halves to even. */
function scaled(value: number, digits: number): bigint {
  let denominator = 1n
  let whole = value
  while (!Number.isInteger(whole)) {
    whole *= 2
    denominator *= 2n
  }
  let numerator = BigInt(whole)
  if (digits >= 0) numerator *= 10n ** BigInt(digits)
  else denominator *= 10n ** BigInt(-digits)
  const quotient = numerator / denominator
  const twice = (numerator % denominator) * 2n
  const up = twice > denominator || (twice === denominator && quotient % 2n === 1n)
  return up ? quotient + 1n : quotient
}

/** Writes `number / 10^digits` as a decimal fraction. */
function point(number: bigint, digits: number): string {
  if (digits <= 0) return String(number * 10n ** BigInt(-digits))
  const text = String(number).padStart(digits + 1, '0')
  return `${text.slice(0, -digits)}.${text.slice(-digits)}`
}

const withoutTrailingZeros = (text: string): string =>
  text.includes('.') ? text.replace(/\.?0+$/, '') : text

/** From this value on `toFixed` returns exponents. */
const TO_FIXED_END = 1e21

/** C's `%.Nf` of a non-negative number, an infinity or NaN. */
export function fixedText(value: number, digits: number): string {
  // toFixed is as exact and much faster, except for halves, which it rounds up; for those, twice the scaled
  // value is an integer.
  if (value < TO_FIXED_END && !Number.isInteger(value * 2 * 10 ** digits)) return value.toFixed(digits)
  if (Number.isFinite(value)) return point(scaled(value, digits), digits)
  return Number.isNaN(value) ? '-nan' : value > 0 ? 'inf' : '-inf'
}

/** C's `%.Ng` of a non-negative number. */
export function generalText(value: number, precision: number): string {
  if (value === 0) return '0'
  let exponent = Number(value.toExponential().split('e')[1])
  let digits = scaled(value, precision - 1 - exponent)
  if (digits === 10n ** BigInt(precision)) {
    exponent++
    digits /= 10n
  }
  if (exponent >= -4 && exponent < precision)
    return withoutTrailingZeros(point(digits, precision - 1 - exponent))
  const sign = exponent < 0 ? '-' : '+'
  const power = String(Math.abs(exponent)).padStart(2, '0')
  return `${withoutTrailingZeros(point(digits, precision - 1))}e${sign}${power}`
}
