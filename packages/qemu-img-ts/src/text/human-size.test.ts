import { describe, expect, it } from 'vitest'
import { humanSize } from './human-size.ts'

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
