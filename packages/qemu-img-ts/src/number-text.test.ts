import { describe, expect, it } from 'vitest'
import { fixedText, generalText, humanSize } from './number-text.ts'

describe('numbers as printf writes them', () => {
  it.each([
    [3.125, '3.12'],
    [3.375, '3.38'],
    [0, '0.00'],
    [100, '100.00'],
    [Math.fround(66.66667), '66.67'],
    [0.005, '0.01'],
    [1.005, '1.00'],
    [12345678.9, '12345678.90'],
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

describe('sizes for people', () => {
  it.each([
    [0, '0 B'],
    [1, '1 B'],
    [999, '999 B'],
    [1000, '0.977 KiB'],
    [1024, '1 KiB'],
    [200704, '196 KiB'],
    [3416064, '3.26 MiB'],
    [1023 * 1024, '0.999 MiB'],
    [2 ** 40, '1 TiB'],
    [2 ** 53, '8 PiB'],
  ])('%d bytes are %s', (bytes, text) => {
    expect(humanSize(bytes)).toBe(text)
  })
})
