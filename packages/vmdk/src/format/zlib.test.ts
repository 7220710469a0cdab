/** zlib streams around deflate, read and written, against Node's own. */
import { deflateRawSync, deflateSync, inflateSync } from 'node:zlib'
import { createRandom } from '@vmblock/block-core/testing'
import { expect, it } from 'vitest'
import { adler32, deflatedIn, hasChecksum, zlibOf } from './zlib.ts'

const random = createRandom(1)
const noise = (bytes: number): Uint8Array => Uint8Array.from({ length: bytes }, () => random.int(0, 256))

it.each([0, 1, 5552, 65535, 65536, 200_000])(
  '%i bytes are stored, and deflated, as zlib reads them',
  (bytes) => {
    const content = noise(bytes)
    expect(new Uint8Array(inflateSync(zlibOf(content, undefined)))).toEqual(content)
    const deflated = new Uint8Array(deflateRawSync(content, { windowBits: 12 }))
    expect(new Uint8Array(inflateSync(zlibOf(content, deflated)))).toEqual(content)
  },
)

it('reads the checksum of a stream', () => {
  const content = noise(70_000).fill(255, 0, 60_000)
  const stream = new Uint8Array(deflateSync(content))
  expect(hasChecksum(stream, content)).toBe(true)
  expect(adler32(content)).toBeGreaterThan(0)
  content[5]! ^= 1
  expect(hasChecksum(stream, content)).toBe(false)
  expect(hasChecksum(stream.subarray(0, 5), content)).toBe(false)
})

it('refuses what is no stream', () => {
  expect(() => deflatedIn(Uint8Array.of(0x78, 0x9d))).toThrow('zlib')
  expect(() => deflatedIn(new Uint8Array(0))).toThrow('zlib')
  expect(deflatedIn(Uint8Array.of(0x78, 0x9c, 1))).toEqual(Uint8Array.of(1))
})
