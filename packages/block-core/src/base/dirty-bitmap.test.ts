import { describe, expect, test } from 'vitest'
import { createRandom } from '../testing/random.ts'
import { DirtyBitmap } from './dirty-bitmap.ts'

const G = 512

/** The bits of a bitmap, one by one. */
const bitsOf = (bitmap: DirtyBitmap): string =>
  Array.from({ length: Math.ceil(bitmap.size / bitmap.granularity) }, (_, i) =>
    bitmap.has(i * bitmap.granularity) ? '1' : '0',
  ).join('')

describe('a dirty bitmap', () => {
  test('agrees with a list of bits', () => {
    const random = createRandom(3)
    const size = 3 * 32768 * G + 100
    const blocks = Math.ceil(size / G)
    const bitmap = new DirtyBitmap(size, G)
    const model = new Uint8Array(blocks)
    for (let round = 0; round < 80; round++) {
      const offset = random.int(0, size)
      const bytes = random.chance(0.1)
        ? random.int(0, size)
        : random.chance(0.3)
          ? random.int(0, 100_000)
          : random.int(0, 3000)
      const value = random.chance(0.7)
      if (value) bitmap.set(offset, bytes)
      else bitmap.clear(offset, bytes)
      const end = Math.min(offset + bytes, size)
      if (end > offset) model.fill(value ? 1 : 0, Math.floor(offset / G), Math.floor((end - 1) / G) + 1)
      expect(bitmap.dirtyBytes).toBe(model.reduce((sum, bit) => sum + bit, 0) * G)
      if (round % 20 > 0) continue
      const shown = new Uint8Array(blocks)
      for (const range of bitmap.ranges())
        shown.fill(1, range.offset / G, Math.ceil((range.offset + range.bytes) / G))
      expect(shown).toEqual(model)
      const packed = new Uint8Array(bitmap.packedBytes)
      bitmap.pack(0, packed)
      expect(
        packed.every((byte, i) =>
          [...Array(8).keys()].every((n) => ((byte >> n) & 1) === (model[i * 8 + n] ?? 0)),
        ),
      ).toBe(true)
      const again = new DirtyBitmap(size, G)
      for (let at = 0; at < packed.length; at += 1000) again.unpack(at, packed.subarray(at, at + 1000))
      expect(again.dirtyBytes).toBe(bitmap.dirtyBytes)
      expect([...again.ranges()]).toEqual([...bitmap.ranges()])
    }
  })

  test('lays bits out as QEMU does', () => {
    const bitmap = new DirtyBitmap(10 * 2 ** 20, 65536)
    bitmap.set(2 ** 20, 100 * 1024)
    const packed = new Uint8Array(bitmap.packedBytes)
    bitmap.pack(0, packed)
    expect(packed.findIndex((byte) => byte !== 0)).toBe(2)
    expect(packed[2]).toBe(3)
  })

  test('takes memory for what is dirty', () => {
    const bitmap = new DirtyBitmap(2 ** 41, 512)
    bitmap.set(2 ** 40, 4096)
    expect(bitmap.memory).toBeLessThan(10_000)
    expect([...bitmap.ranges()]).toEqual([{ offset: 2 ** 40, bytes: 4096 }])
    bitmap.clear(2 ** 40, 4096)
    expect(bitmap.memory).toBe(0)
  })

  test('is clean where the disk grew, and forgets what was cut off', () => {
    const bitmap = new DirtyBitmap(10 * G, G)
    bitmap.set(0, 10 * G)
    bitmap.resize(4 * G + 1)
    bitmap.resize(8 * G)
    expect(bitsOf(bitmap)).toBe('11111000')
  })

  test.each([
    [G, 4 * G, '1000'],
    [4 * G, G, '1111000000000000'],
  ])('widens blocks of %i to %i bytes in a merge', (from, to, bits) => {
    const source = new DirtyBitmap(16 * G, from)
    source.set(1, 1)
    const target = new DirtyBitmap(16 * G, to)
    target.merge(source)
    expect(bitsOf(target)).toBe(bits)
  })

  test('a copy is independent', () => {
    const bitmap = new DirtyBitmap(32768 * G, G)
    bitmap.set(0, 32768 * G)
    const copy = bitmap.copy()
    copy.clear(0, G)
    expect([bitmap.dirtyBytes, copy.dirtyBytes]).toEqual([32768 * G, 32767 * G])
  })

  test('ignores bits behind the end', () => {
    const bitmap = new DirtyBitmap(3 * G, G)
    bitmap.unpack(0, Uint8Array.of(0xff, 0xff))
    expect(bitmap.dirtyBytes).toBe(3 * G)
  })

  test.each([0, 100, 256, 511, 1000, Number.NaN])('refuses blocks of %s bytes', (granularity) => {
    expect(() => new DirtyBitmap(G, granularity)).toThrow('Granularity must be power of 2 and at least 512')
  })
})
