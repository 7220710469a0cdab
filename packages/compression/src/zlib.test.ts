/** Blocks in zlib's container: read in Node.js and in pages, and refused where they are not what was asked for. */
import * as zlib from 'node:zlib'
import { describe, expect, it } from 'vitest'
import * as inNode from './node-js/deflate.ts'
import { loadZlib as loadInNode } from './node-js/index.ts'
import * as inPages from './pages/deflate.ts'
import { adler32, zlibOver } from './shared/zlib.ts'

const SIZE = 65536
const block = Uint8Array.from({ length: SIZE }, (_, i) => ((i * i) >> 7) & 0xff)
const packed = new Uint8Array(zlib.deflateSync(block))
const joined = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts))
const changed = (at: number, value: number): Uint8Array => {
  const data = packed.slice()
  data[at < 0 ? data.length + at : at] = value
  return data
}

const CASES: readonly (readonly [name: string, data: Uint8Array, size: number, isGood: boolean])[] = [
  ['a block', packed, SIZE, true],
  ['a block of the best level', new Uint8Array(zlib.deflateSync(block, { level: 9 })), SIZE, true],
  ['a block that is stored', new Uint8Array(zlib.deflateSync(block, { level: 0 })), SIZE, true],
  ['a block with a small window', new Uint8Array(zlib.deflateSync(block, { windowBits: 9 })), SIZE, true],
  ['a block with something behind it', joined(packed, new Uint8Array(100).fill(1)), SIZE, true],
  ['more than a block', packed, SIZE - 1, false],
  ['less than a block', packed, SIZE + 1, false],
  ['another checksum', changed(-1, packed.at(-1)! ^ 1), SIZE, false],
  ['no checksum', packed.subarray(0, -4), SIZE, false],
  ['raw deflate', new Uint8Array(zlib.deflateRawSync(block)), SIZE, false],
  ['gzip', new Uint8Array(zlib.gzipSync(block)), SIZE, false],
  ['another check of the header', changed(1, packed[1]! ^ 1), SIZE, false],
  ['a dictionary', joined(Uint8Array.of(0x78, 0xbb), packed.subarray(2)), SIZE, false],
  ['a header alone', packed.subarray(0, 2), SIZE, false],
  ['nothing', new Uint8Array(0), SIZE, false],
]

describe.each([
  ['in Node.js', zlibOver(inNode)],
  ['in pages', zlibOver(inPages)],
])('zlib %s', (_, codec) => {
  it.each(CASES)('%s', async (_, data, size, isGood) => {
    const result = codec.decompress(data, size)
    if (!isGood) return expect(result).rejects.toThrow()
    expect(Buffer.compare(await result, block)).toBe(0)
  })
})

it('is loaded by its name', async () => {
  const codec = await loadInNode()
  expect(Buffer.compare(await codec.decompress(packed, SIZE), block)).toBe(0)
})

it('has the checksum that zlib has', () => {
  for (const bytes of [0, 1, 5552, 5553, 100_000]) {
    const data = new Uint8Array(bytes).fill(0xff)
    const stream = zlib.deflateSync(data)
    expect(adler32(data)).toBe(stream.readUInt32BE(stream.length - 4))
  }
})
