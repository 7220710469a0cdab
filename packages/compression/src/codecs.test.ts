/** All codecs say the same of good data, data with something behind it, and bad data, as QEMU does. */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import * as zlib from 'node:zlib'
import { describe, expect, it } from 'vitest'
import * as deflateInNode from './node-js/deflate.ts'
import * as zstdInNode from './node-js/zstd.ts'
import * as deflateInPages from './pages/deflate.ts'
import * as zstdInPages from './pages/zstd.ts'
import type { Codec } from './shared/codec.ts'
import { ZSTD } from './shared/zstd-binary.ts'

const SIZE = 65536

/** Half of it repeats, at distances up to the window of 32 KiB. */
function content(seed: number, size = SIZE): Uint8Array {
  const bytes = new Uint8Array(size)
  let state = seed
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    bytes[i] = i >= 32_000 && i < 48_000 ? bytes[i - 32_000]! : i % 3 === 0 ? state >>> 24 : 97 + (i % 7)
  }
  return bytes
}

const block = content(1)
const joined = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts))
const deflated = zlib.deflateRawSync(block, { windowBits: 12 })
const unfinished = zlib.deflateRawSync(block, { finishFlush: zlib.constants.Z_SYNC_FLUSH })
const junk = new Uint8Array(300).fill(0xff)

/** A codec that does each block as one of many. */
const oneOfMany = (codec: Codec): Codec => ({
  ...codec,
  async decompress(data, size) {
    const twice = new Uint8Array(2 * size)
    const extents = [0, data.length].map((hostOffset) => ({ hostOffset, compressedBytes: data.length }))
    const file = joined(data, data)
    await codec.readPacked(extents, async (at, into) => into.set(file.subarray(at, at + into.length)), twice)
    expect(Buffer.compare(twice.subarray(0, size), twice.subarray(size))).toBe(0)
    return twice.subarray(0, size)
  },
})

type Case = readonly [name: string, data: Uint8Array, size: number, isGood: boolean]

const DEFLATE: readonly Case[] = [
  ['a block', deflated, SIZE, true],
  ['a block with another behind it', joined(deflated, deflated), SIZE, true],
  ['a block with junk behind it', joined(deflated, junk), SIZE, true],
  ['matches in a window of 32 KiB', zlib.deflateRawSync(block, { windowBits: 15 }), SIZE, true],
  ['stored data', zlib.deflateRawSync(block, { level: 0 }), SIZE, true],
  ['more than a block', deflated, 4096, true],
  ['a stream that is cut off behind the block', deflated.subarray(0, deflated.length - 1), 4096, true],
  ['no final block, and padding', joined(unfinished, new Uint8Array(300)), SIZE, false],
  ['a zlib header', zlib.deflateSync(block), SIZE, false],
  ['a byte too few', zlib.deflateRawSync(block.subarray(1)), SIZE, false],
  ['a stream that is cut off before the block is full', deflated.subarray(0, 9000), SIZE, false],
  ['no stream', junk, SIZE, false],
  ['nothing', new Uint8Array(0), SIZE, false],
]

describe.each<[string, Codec]>([
  ['in Node.js', deflateInNode],
  ['in pages', deflateInPages],
  ['in Node.js, many', oneOfMany(deflateInNode)],
  ['in pages, many', oneOfMany(deflateInPages)],
])('deflate %s', (_, codec) => {
  it.each(DEFLATE)('%s', async (_, data, size, isGood) => {
    const result = codec.decompress(data.slice(), size)
    if (!isGood) return expect(result).rejects.toThrow()
    expect(Buffer.compare(await result, block.subarray(0, size))).toBe(0)
  })

  it('compresses with a window of 4 KiB, and only where that saves something', async () => {
    const data = await codec.compress(block)
    // A decoder with a smaller window than the stream needs refuses it.
    expect(Buffer.compare(zlib.inflateRawSync(data!, { windowBits: 12 }), block)).toBe(0)
    expect(await codec.compress(zlib.deflateRawSync(block).subarray(0, 512))).toBeUndefined()
  })
})

describe.each<[string, Codec]>([
  ['in Node.js', zstdInNode],
  ['in pages', zstdInPages],
  ['in Node.js, many', oneOfMany(zstdInNode)],
])('zstd %s', (_, codec) => {
  it('compresses into one segment with its size and without a checksum, as QEMU does', async () => {
    const data = await codec.compress(block)
    expect([...data!.subarray(0, 7)]).toEqual([0x28, 0xb5, 0x2f, 0xfd, 0x60, 0x00, 0xff])
    expect(Buffer.compare(await codec.decompress(joined(data!, junk), SIZE), block)).toBe(0)
    expect(await codec.compress(zlib.deflateRawSync(block).subarray(0, 512))).toBeUndefined()
  })

  it('takes several frames, skips some, and refuses too much or too little', async () => {
    const [first, second] = [
      await codec.compress(block.subarray(0, 32_768)),
      await codec.compress(block.subarray(32_768)),
    ]
    const skippable = Uint8Array.of(0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9)
    const data = joined(skippable, first!, second!)
    expect(Buffer.compare(await codec.decompress(data, SIZE), block)).toBe(0)
    for (const size of [SIZE - 2, SIZE + 1]) await expect(codec.decompress(data, size)).rejects.toThrow()
    const broken = data.slice()
    broken.fill(0xff, 40, 400)
    await expect(codec.decompress(broken, SIZE)).rejects.toThrow()
    // It works on afterwards.
    expect(Buffer.compare(await codec.decompress(data, SIZE), block)).toBe(0)
  })

  it('does many blocks at once, of any size', async () => {
    const blocks = Array.from({ length: 24 }, (_, i) => content(i + 1, [512, 4096, SIZE, 2 ** 21][i % 4]!))
    const packed = await Promise.all(blocks.map((each) => codec.compress(each)))
    const back = await Promise.all(packed.map((data, i) => data && codec.decompress(data, blocks[i]!.length)))
    for (const [i, each] of back.entries()) if (each) expect(Buffer.compare(each, blocks[i]!)).toBe(0)
  })
})

it('has the zstd that @bokuweb/zstd-wasm has', () => {
  const build = createRequire(import.meta.url).resolve('@bokuweb/zstd-wasm')
  const wasm = readFileSync(build.replace(/[^/\\]*$/, 'zstd.wasm'))
  expect(zlib.inflateRawSync(Buffer.from(ZSTD, 'base64')).equals(wasm)).toBe(true)
})
