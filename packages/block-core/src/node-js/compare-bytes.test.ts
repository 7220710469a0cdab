import { describe, expect, it } from 'vitest'
import { equalBytes, isZeroBytes } from './compare-bytes.ts'

describe('comparing bytes', () => {
  it.each([0, 1, 4095, 4096, 4097, 65_536, 65_537, 200_000])('sees each byte of %d', (length) => {
    // Not aligned, and surrounded by other bytes.
    const memory = new Uint8Array(length + 2).fill(1)
    const bytes = memory.subarray(1, length + 1).fill(0)
    expect(isZeroBytes(bytes)).toBe(true)
    const other = new Uint8Array(length)
    expect(equalBytes(bytes, other)).toBe(true)
    for (const at of new Set([0, length >> 1, length - 1])) {
      if (at < 0 || at >= length) continue
      bytes[at] = 0x80
      expect(isZeroBytes(bytes)).toBe(false)
      expect(equalBytes(bytes, other)).toBe(false)
      bytes[at] = 0
    }
  })
})
