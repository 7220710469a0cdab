/** Each decoder gives what was compressed, and an error for anything else: never more, and never without end. */
import { deflateSync } from 'node:zlib'
import { createRandom } from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import { COMPRESSIONS, type Decode } from '../decoders.ts'
import { TYPE } from '../format/chunks.ts'
import { bytesOf, contentOf, PACKED } from '../testing/packed.ts'
import { decodeAdc } from './adc.ts'
import { crc32, crc64 } from './crc.ts'
import { decodeLzfse } from './lzfse.ts'
import { frequencyAt } from './lzfse-tables.ts'

const joined = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts))

interface Case {
  readonly name: string
  readonly type: number
  readonly data: Uint8Array
  readonly content: Uint8Array
}

/** ADC data of one literal, and far and near matches of it. */
const ADC_DATA = Uint8Array.of(0x83, 1, 2, 3, 4, 0x40, 0, 3, 0x7f, 0, 0, 0x3c, 1, 0x80, 9)
const ADC_CONTENT = Uint8Array.from([
  ...[1, 2, 3, 4],
  ...[1, 2, 3, 4],
  ...new Array(67).fill(4),
  ...new Array(18).fill(4),
  9,
])

const CASES: readonly Case[] = [
  ...PACKED.map((packed) => ({
    name: packed.name,
    type: packed.type,
    data: bytesOf(packed),
    content: contentOf(packed.content),
  })),
  { name: 'ADC', type: TYPE.adc, data: ADC_DATA, content: ADC_CONTENT },
  {
    name: 'zlib',
    type: TYPE.zlib,
    data: new Uint8Array(deflateSync(contentOf('mixed'))),
    content: contentOf('mixed'),
  },
]

const decoderOf = (type: number): Promise<Decode> => COMPRESSIONS.get(type)!.load()

/** What a decoder says to data; undefined if it was taken. */
async function complaint(decode: Decode, data: Uint8Array, size: number): Promise<string | undefined> {
  try {
    expect((await decode(data, size)).length).toBe(size)
    return undefined
  } catch (error) {
    expect(error).toBeInstanceOf(Error)
    expect((error as Error).name, String((error as Error).stack)).toBe('Error')
    return (error as Error).message
  }
}

describe.each(CASES)('$name', ({ type, data, content }) => {
  it('gives what was compressed, and does not look at what follows', async () => {
    const decode = await decoderOf(type)
    for (const given of [data, joined(data, new Uint8Array(20).fill(0x55))])
      expect(Buffer.compare(await decode(given, content.length), content)).toBe(0)
    // Data in the middle of other memory.
    const inside = joined(new Uint8Array(3), data).subarray(3)
    expect(Buffer.compare(await decode(inside, content.length), content)).toBe(0)
  })

  it('is refused if it gives less than what is asked for', async () => {
    expect(await complaint(await decoderOf(type), data, content.length + 512)).toMatch(/./)
  })

  it('is refused if it gives more', async () => {
    // Whether ADC goes on behind the end of a run cannot be told from what follows.
    if (type !== TYPE.adc)
      expect(await complaint(await decoderOf(type), data, content.length - 100)).toMatch(/./)
    else expect(await complaint(decodeAdc, data, content.length - 5)).toMatch(/more than the chunk/)
  })

  it('is refused wherever it is cut off', async () => {
    const decode = await decoderOf(type)
    // What follows the last block of xz is its index, which is not needed.
    const needed = type === TYPE.lzma ? data.length - 60 : data.length - 1
    for (let end = 0; end <= needed; end += Math.max(1, Math.floor(data.length / 150)))
      expect(await complaint(decode, data.slice(0, end), content.length), `after ${end}`).toMatch(/./)
  })

  it('is refused, or still whole, wherever it is changed', async () => {
    const decode = await decoderOf(type)
    const random = createRandom(type)
    let refused = 0
    for (let i = 0; i < 300; i++) {
      const bad = data.slice()
      for (let changes = random.int(1, 4); changes > 0; changes--)
        bad[random.chance(0.3) ? random.int(0, Math.min(64, bad.length)) : random.int(0, bad.length)] =
          random.int(0, 256)
      if ((await complaint(decode, bad, content.length)) !== undefined) refused++
    }
    expect(refused).toBeGreaterThan(20)
  })

  it('is refused if it is noise, or nothing', async () => {
    const decode = await decoderOf(type)
    for (let seed = 1; seed < 20; seed++)
      expect(await complaint(decode, createRandom(seed).bytes(300), 4096)).toMatch(/./)
    expect(await complaint(decode, new Uint8Array(0), 512)).toMatch(/./)
    expect(await complaint(decode, new Uint8Array(1000), 512)).toMatch(/./)
  })
})

describe('checksums:', () => {
  const bytes = new TextEncoder().encode('123456789')
  it('are those of the standards', () => {
    expect(crc32(bytes)).toBe(0xcbf43926)
    expect(crc64(bytes)).toEqual([0x995dc9bb, 0xdf1939fa])
  })

  it.each(CASES.filter(({ name }) => /^(bzip2|xz|xz with CRC-32.*|zlib)$/.test(name)))(
    'a change of the content of $name is noticed',
    async ({ type, data, content }) => {
      const decode = await decoderOf(type)
      let noticed = ''
      for (let at = Math.floor(data.length / 2); at < data.length && !/checksum/.test(noticed); at++) {
        const bad = data.slice()
        bad[at]! ^= 0x10
        noticed += await complaint(decode, bad, content.length)
      }
      expect(noticed).toMatch(/checksum/)
    },
  )
})

describe('ADC', () => {
  it.each<[string, number[], RegExp]>([
    ['a match of what is before the beginning', [0x80, 1, 0x40, 0, 1], /before its beginning$/],
    ['a near one', [0x80, 1, 0x00, 1], /before its beginning$/],
    ['a match that goes on behind the chunk', [0x80, 1, 0x7f, 0, 0], /more than the chunk$/],
    ['a literal that goes on behind the chunk', [0x88, 1, 2, 3, 4, 5, 6, 7, 8, 9], /more than the chunk$/],
    ['a literal that is cut off', [0x83, 1, 2], /too short$/],
    ['a match that is cut off', [0x80, 1, 0x40, 0], /too short$/],
  ])('is refused with %s', (_, data, why) => {
    expect(() => decodeAdc(Uint8Array.from(data), 8)).toThrow(why)
  })
})

describe('xz', () => {
  const { data, content } = CASES.find(({ name }) => name === 'xz')!
  /** The data with another header of its block, whose checksum is right. */
  const withHeader = (change: (header: Uint8Array) => void): Uint8Array => {
    const changed = data.slice()
    const bytes = changed[12]! * 4 + 4
    const header = changed.subarray(12, 12 + bytes)
    change(header)
    new DataView(header.buffer, header.byteOffset).setUint32(bytes - 4, crc32(header.subarray(0, -4)), true)
    return changed
  }

  it.each<[string, (header: Uint8Array) => void]>([
    ['another filter', (header) => header.fill(0x03, 2, 3)],
    ['two filters', (header) => header.fill(0x01, 1, 2)],
  ])('with %s is refused by name', async (_, change) => {
    const decode = await decoderOf(TYPE.lzma)
    expect(await complaint(decode, withHeader(change), content.length)).toMatch(/filters other than LZMA2/)
  })

  it('may say how large its blocks are', async () => {
    const decode = await decoderOf(TYPE.lzma)
    const sized = withHeader((header) => {
      // The sizes take the place of padding, before the filter.
      header.copyWithin(5, 2, 5)
      header.set([0xc0, 0x10, 0x80, 0x40], 1)
      header.copyWithin(5, 5, 8)
    })
    expect(Buffer.compare(await decode(sized, content.length), content)).toBe(0)
  })
})

describe('LZFSE', () => {
  it('is read with a header in full, too', () => {
    const { data, content } = CASES.find(({ name }) => name === 'LZFSE of lines')!
    expect(Buffer.compare(decodeLzfse(inFull(data), content.length), content)).toBe(0)
  })

  /** The same block with the header of version 1. */
  function inFull(data: Uint8Array): Uint8Array {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
    const word = (at: number): bigint => view.getBigUint64(at, true)
    const field = (at: number, bit: number, bits: number): number =>
      Number((word(at) >> BigInt(bit)) & ((1n << BigInt(bits)) - 1n))
    const full = new DataView(new ArrayBuffer(772))
    const counts = [field(8, 0, 20), field(8, 40, 20), field(8, 20, 20), field(16, 40, 20)]
    full.setUint32(0, 0x31787662, true)
    full.setUint32(4, view.getUint32(4, true), true)
    full.setUint32(8, counts[2]! + counts[3]!, true)
    for (const [i, count] of counts.entries()) full.setUint32(12 + i * 4, count, true)
    full.setInt32(28, field(8, 60, 3) - 7, true)
    for (let i = 0; i < 4; i++) full.setUint16(32 + i * 2, field(16, i * 10, 10), true)
    full.setInt32(40, field(16, 60, 3) - 7, true)
    for (let i = 0; i < 3; i++) full.setUint16(44 + i * 2, field(24, 32 + i * 10, 10), true)
    let bit = 32 * 8
    for (let i = 0; i < 360; i++) {
      const [frequency, bits] = frequencyAt(data, bit)
      full.setUint16(50 + i * 2, frequency, true)
      bit += bits
    }
    return joined(new Uint8Array(full.buffer), data.subarray(field(24, 0, 32)))
  }

  it('has frequencies of 2, 3, 5, 8 and 14 bits', () => {
    const at = (bits: string): readonly [number, number] => {
      const value = Number.parseInt(bits, 2)
      return frequencyAt(Uint8Array.of(value & 0xff, value >> 8), 0)
    }
    expect([at('00'), at('10'), at('001'), at('101'), at('00011'), at('11011')]).toEqual([
      [0, 2],
      [1, 2],
      [2, 3],
      [3, 3],
      [4, 5],
      [7, 5],
    ])
    expect([at('00000111'), at('11110111'), at('00000000001111'), at('11111111111111')]).toEqual([
      [8, 8],
      [23, 8],
      [24, 14],
      [1047, 14],
    ])
  })
})
