import { createRandom } from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import { fixedText, generalText } from './printf.ts'

describe('numbers as printf writes them', () => {
  it('go to the even digit at exact ties', () => {
    expect(fixedText(1.0625, 3)).toBe('1.062')
    expect(fixedText(1.1875, 3)).toBe('1.188')
    expect(fixedText(1.0635, 3)).toBe('1.063')
    expect(fixedText(0.5, 0)).toBe('0')
  })

  it('are the nearest to what was given, halves to even', () => {
    const random = createRandom(1)
    for (let i = 0; i < 5000; i++) {
      // A fraction with a known denominator: many of these are halves at the third decimal place.
      const [numerator, power] = [random.int(0, 2 ** 24), random.int(0, 24)]
      const [scaled, denominator] = [BigInt(numerator) * 2000n, 2n ** BigInt(power)]
      const shown = BigInt(fixedText(numerator / 2 ** power, 3).replace('.', ''))
      const error = 2n * shown * denominator - scaled
      const distance = error < 0n ? -error : error
      expect(distance <= denominator).toBe(true)
      if (distance === denominator) expect(shown % 2n).toBe(0n)
    }
  })

  it.each([
    [3.125, '3.12'],
    [3.375, '3.38'],
    [0, '0.00'],
    [100, '100.00'],
    [Math.fround(66.66667), '66.67'],
    [0.005, '0.01'],
    [1.005, '1.00'],
    [12345678.9, '12345678.90'],
    [Number.POSITIVE_INFINITY, 'inf'],
    [Number.NaN, '-nan'],
  ])('has two decimals of %d: %s', (value, text) => {
    expect(fixedText(value, 2)).toBe(text)
  })

  it.each([
    [1.125, '1.12'],
    [1.135, '1.14'],
    [999.5, '1e+03'],
    [100, '100'],
    [1.5, '1.5'],
    [0.00001234, '1.23e-05'],
    [9.995, '9.99'],
  ])('has three significant digits of %d: %s', (value, text) => {
    expect(generalText(value, 3)).toBe(text)
  })
})
