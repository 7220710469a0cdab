import { describe, expect, it } from 'vitest'
import { refcountAccess } from './refcount-width.ts'

describe('refcountAccess', () => {
  it.each([0, 1, 2, 3, 4, 5, 6])('order %i keeps what was set, and leaves the neighbours alone', (order) => {
    const { get, set, max, bits } = refcountAccess(order)
    expect(bits).toBe(2 ** order)
    const block = new Uint8Array(512)
    const count = (512 * 8) / bits
    const expected = new Array<number>(count).fill(0)
    let state = order + 1
    for (let round = 0; round < 10_000; round++) {
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
      const index = state % count
      const value = round % 4 === 0 ? max : (state * 4_000_037) % (max + 1)
      set(block, index, value)
      expected[index] = value
      expect(get(block, index)).toBe(value)
    }
    expect(expected.map((_, index) => get(block, index))).toEqual(expected)
  })

  it('fills bytes from the lowest bit up', () => {
    const block = new Uint8Array(2)
    refcountAccess(0).set(block, 3, 1)
    expect(block).toEqual(Uint8Array.of(8, 0))
    refcountAccess(1).set(block, 5, 2)
    expect(block).toEqual(Uint8Array.of(8, 8))
    refcountAccess(2).set(block, 1, 15)
    expect(block).toEqual(Uint8Array.of(0xf8, 8))
  })

  it('is big-endian above a byte', () => {
    const block = new Uint8Array(8)
    refcountAccess(4).set(block, 1, 0x1234)
    expect(block.subarray(0, 4)).toEqual(Uint8Array.of(0, 0, 0x12, 0x34))
    refcountAccess(5).set(block, 0, 0xfedc_ba98)
    expect(block.subarray(0, 4)).toEqual(Uint8Array.of(0xfe, 0xdc, 0xba, 0x98))
    refcountAccess(6).set(block, 0, 2 ** 40 + 5)
    expect(block).toEqual(Uint8Array.of(0, 0, 1, 0, 0, 0, 0, 5))
  })

  it('reads a 64-bit count that no image can have as Infinity', () => {
    const { get, max } = refcountAccess(6)
    expect(max).toBe(2 ** 53 - 1)
    expect(get(Uint8Array.of(0, 0x1f, 255, 255, 255, 255, 255, 255), 0)).toBe(2 ** 53 - 1)
    expect(get(Uint8Array.of(0, 0x20, 0, 0, 0, 0, 0, 0), 0)).toBe(Number.POSITIVE_INFINITY)
    expect(get(new Uint8Array(8).fill(255), 0)).toBe(Number.POSITIVE_INFINITY)
  })
})
