/** Images that are damaged, or made to do harm: each is refused with an error that says what is wrong. */
import {
  type BlockNode,
  DriverRegistry,
  denyHost,
  isBlockError,
  openMemory,
  openNode,
} from '@vmblock/block-core'
import { createRandom } from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import { dmg } from './driver.ts'
import { TYPE } from './format/chunks.ts'
import { type DmgChunk, type DmgWishes, dmgImage } from './testing/images.ts'
import { bytesOf, contentOf, PACKED } from './testing/packed.ts'

const environment = { registry: new DriverRegistry([dmg]), host: denyHost }

const open = (bytes: Uint8Array): Promise<BlockNode> =>
  openNode(environment, { driver: 'dmg', file: openMemory(bytes), readOnly: true })

const packed = PACKED[0]!
const CONTENT = contentOf(packed.content)
const RAW: DmgChunk = { type: TYPE.raw, sector: 0, sectors: 16, data: CONTENT }
const BZIP2: DmgChunk = { type: packed.type, sector: 16, sectors: 16, data: bytesOf(packed) }

const image = (wishes: Partial<DmgWishes> = {}): Uint8Array =>
  dmgImage({ tables: [{ chunks: [RAW, BZIP2] }], sectors: 32, ...wishes })
const withChunk = (chunk: Partial<DmgChunk>): Uint8Array =>
  image({ tables: [{ chunks: [RAW, { ...BZIP2, ...chunk }] }] })
const withTrailer = (edit: (trailer: DataView) => void): Uint8Array => image({ editTrailer: edit })
const withList = (edit: (xml: string) => string): Uint8Array => image({ editList: edit })
const encrypted = (text: string, at: number): Uint8Array => {
  const bytes = new Uint8Array(4096)
  bytes.set(Buffer.from(text), at)
  return bytes
}

describe('is refused:', () => {
  const fork = (change: (view: DataView) => void): Uint8Array => {
    const bytes = image({ resourceFork: true })
    const view = new DataView(bytes.buffer)
    const at = Number(view.getBigUint64(bytes.length - 512 + 40))
    change(new DataView(bytes.buffer, at))
    return bytes
  }

  it.each<[string, Uint8Array, string, string | RegExp]>([
    ['an empty file', new Uint8Array(0), 'EINVAL', 'dmg file must be at least 512 bytes long'],
    ['a short file', new Uint8Array(511), 'EINVAL', 'dmg file must be at least 512 bytes long'],
    ['a file without a trailer', new Uint8Array(4096), 'EINVAL', 'Could not locate UDIF trailer in dmg file'],
    [
      'a trailer with 512 bytes behind it',
      image({ behind: 512 }),
      'EINVAL',
      'Could not locate UDIF trailer in dmg file',
    ],
    [
      'an encrypted image',
      encrypted('encrcdsa', 0),
      'ENOTSUP',
      /is encrypted, and encrypted .* not supported/,
    ],
    ['an encrypted image of version 1', encrypted('cdsaencr', 4088), 'ENOTSUP', /is encrypted/],
    [
      'one of several files',
      withTrailer((trailer) => trailer.setUint32(60, 3)),
      'ENOTSUP',
      'The dmg image is part 1 of 3: images in several files are not supported',
    ],
    [
      'no tables',
      withTrailer((trailer) => trailer.setBigUint64(224, 0n)),
      'EINVAL',
      'The dmg image has neither a resource fork nor a property list',
    ],
    [
      'a data fork behind the trailer',
      withTrailer((trailer) => trailer.setBigUint64(24, 2n ** 40n)),
      'EINVAL',
      /^The data fork of the dmg image is not before its trailer/,
    ],
    [
      'a property list behind the trailer',
      withTrailer((trailer) => trailer.setBigUint64(216, 2n ** 64n - 1n)),
      'EINVAL',
      /^The property list of the dmg image is not before its trailer/,
    ],
    [
      'a property list that is longer than the file',
      withTrailer((trailer) => trailer.setBigUint64(224, 2n ** 64n - 1n)),
      'EINVAL',
      /^The property list of the dmg image is not before its trailer/,
    ],
    [
      'a resource fork behind the trailer',
      withTrailer((trailer) => trailer.setBigUint64(48, 2n ** 63n)),
      'EINVAL',
      /^The resource fork of the dmg image is not before its trailer/,
    ],
    [
      'more sectors than a number holds',
      withTrailer((trailer) => trailer.setBigUint64(492, 2n ** 44n)),
      'EFBIG',
      /^The dmg image has 17592186044416 sectors, more than/,
    ],
    [
      'a property list without an end of its data',
      withList((xml) => xml.replaceAll('</data>', '')),
      'EINVAL',
      'A <data> of the property list has no end',
    ],
    [
      'a property list that ends in a comment',
      withList((xml) => `${xml}<!-- `),
      'EINVAL',
      "The property list of the dmg image ends before a '-->'",
    ],
    [
      'a property list that ends in a tag',
      withList((xml) => `${xml}<data `),
      'EINVAL',
      "The property list of the dmg image ends before a '>'",
    ],
    [
      'data that is not base64',
      withList((xml) => xml.replace('AAAA', 'AA!A')),
      'EINVAL',
      /data that is not base64$/,
    ],
    [
      'data that is not ASCII',
      withList((xml) => xml.replace('AAAA', 'AA\xe9A')),
      'EINVAL',
      /data that is not base64$/,
    ],
    [
      'too many sectors in a chunk',
      withChunk({ sectors: 131073 }),
      'EINVAL',
      'sector count 131073 for chunk 1 is larger than max (131072)',
    ],
    [
      'too much data in a chunk',
      withChunk({ length: 67108865n }),
      'EINVAL',
      'length 67108865 for chunk 1 is larger than max (67108864)',
    ],
    [
      'an offset that no number holds',
      withChunk({ offset: 2n ** 53n }),
      'EFBIG',
      'the offset of chunk 1 exceeds 2^53-1: 0x20000000000000',
    ],
    [
      'offsets that wrap around in 64 bits',
      image({ tables: [{ chunks: [{ ...RAW, offset: 2n ** 64n - 512n }] }], dataForkOffset: 512 }),
      'EFBIG',
      /^the offset of chunk 0 exceeds/,
    ],
    [
      'a length that no number holds',
      image({ tables: [{ chunks: [{ ...RAW, length: 2n ** 60n }] }] }),
      'EFBIG',
      /^the length of chunk 0 exceeds/,
    ],
    [
      'sectors behind what a number holds',
      image({ tables: [{ first: 2 ** 44 - 16, chunks: [RAW, { ...RAW, sector: 16, sectors: 1 }] }] }),
      'EFBIG',
      /^chunk 0 ends at sector 17592186044416, behind 2\^53-1 bytes/,
    ],
    [
      'two chunks of one sector',
      image({ tables: [{ chunks: [RAW, { ...BZIP2, sector: 15 }] }] }),
      'ECORRUPT',
      'Two chunks of the dmg image have the sector 15',
    ],
    [
      'a resource fork without data',
      fork((view) => view.setUint32(8, 0)),
      'EINVAL',
      /fork .* is broken: its data/,
    ],
    [
      'a resource fork that ends behind itself',
      fork((view) => view.setUint32(0, 0xffffffff)),
      'EINVAL',
      /fork .* is broken: its data is at 4294967295/,
    ],
    [
      'a resource without a length',
      fork((view) => view.setUint32(256, 0)),
      'EINVAL',
      /fork .* is broken: a resource at 260 has 0 bytes/,
    ],
    [
      'a resource that is longer than the fork',
      fork((view) => view.setUint32(256, 0x7fffffff)),
      'EINVAL',
      /a resource at 260 has 2147483647 bytes/,
    ],
  ])('%s', async (_, bytes, code, message) => {
    await expect(open(bytes)).rejects.toMatchObject({
      code,
      message: typeof message === 'string' ? message : expect.stringMatching(message),
    })
  })

  it('tables that are too large, before memory is given for them', async () => {
    const bytes = image({ editTrailer: (trailer) => trailer.setBigUint64(216, 0n) })
    const large = new Uint8Array(17 * 2 ** 20)
    const trailer = bytes.slice(-512)
    new DataView(trailer.buffer).setBigUint64(224, BigInt(2 ** 24 + 1))
    large.set(trailer, large.length - 512)
    await expect(open(large)).rejects.toMatchObject({
      code: 'EFBIG',
      message: 'The property list of the dmg image has 16777217 bytes, more than 16777216',
    })
  })
})

describe('is readable but for one chunk:', () => {
  it.each<[string, Uint8Array, RegExp]>([
    ['a type that is not known', withChunk({ type: 0x80000009 }), /is of the unknown type 0x80000009$/],
    ['a hole', withChunk({ type: TYPE.comment }), /^Cannot read at 8192: no chunk .* has this sector$/],
    ['data behind the end of the file', withChunk({ offset: 2n ** 40n }), /is behind the end of the file$/],
    [
      'much more data than its content has bytes',
      withChunk({ offset: 0n, length: 100_000n, type: TYPE.zlib }),
      /behind the end of the file|holds only 8192 bytes$/,
    ],
    [
      'data that is broken',
      withChunk({ type: TYPE.lzma }),
      /\(LZMA, 2197 bytes at 8192\) is broken: The data does/,
    ],
    ['data of another size', withChunk({ sectors: 15 }), /\(bzip2, .*more than the chunk$/],
    ['no data', withChunk({ length: 0n }), /\(bzip2, 0 bytes .* does not begin as bzip2/],
  ])('%s', async (_, bytes, why) => {
    const node = await open(bytes)
    await expect(node.read(16 * 512, new Uint8Array(512))).rejects.toMatchObject({
      code: 'EIO',
      offset: 16 * 512,
      message: expect.stringMatching(why),
    })
    const into = new Uint8Array(16 * 512)
    await node.read(0, into)
    expect(Buffer.compare(into, CONTENT)).toBe(0)
    await node.blockStatus(0, node.size)
  })

  it('data that would need too much memory', async () => {
    const filler = { ...RAW, data: new Uint8Array(200_000) }
    const bytes = image({
      tables: [{ chunks: [filler, { ...BZIP2, offset: 0n, length: 150_000n }] }],
    })
    const node = await open(bytes)
    await expect(node.read(16 * 512, new Uint8Array(512))).rejects.toThrow(/it holds only 8192 bytes$/)
  })
})

it('whatever is changed in an image, it is read or refused by a readable error', async () => {
  const random = createRandom(11)
  const all = PACKED.map((one, i): DmgChunk => {
    const sectors = contentOf(one.content).length / 512
    return { type: one.type, sector: i * 16, sectors, data: bytesOf(one) }
  })
  const images = [false, true].map((resourceFork) =>
    dmgImage({ tables: [{ chunks: all }], sectors: all.length * 16, resourceFork }),
  )
  let opened = 0
  for (let round = 0; round < 400; round++) {
    const bytes = random.pick(images).slice()
    const tables = bytes.length - 512 - Math.min(6000, bytes.length - 512)
    for (let changes = random.int(1, 5); changes > 0; changes--) {
      const at = random.chance(0.4)
        ? random.int(bytes.length - 512, bytes.length)
        : random.int(tables, bytes.length)
      bytes[at] = random.pick([0, 1, 0x7f, 0x80, 0xff, 0x41, 0x3c])
    }
    const step = async <T>(work: () => Promise<T>): Promise<T | undefined> => {
      try {
        return await work()
      } catch (error) {
        if (!isBlockError(error)) throw error
        expect(error.message).not.toMatch(/undefined|NaN|Infinity/)
        expect(['TypeError', 'RangeError']).not.toContain((error.cause as Error | undefined)?.name)
        return undefined
      }
    }
    const node = await step(() => open(bytes))
    if (!node) continue
    opened++
    for (const offset of [0, 16 * 512, Math.floor(node.size / 2), node.size - 512])
      if (offset >= 0 && offset + 512 <= node.size)
        await step(() => node.read(offset, new Uint8Array(Math.min(65536, node.size - offset))))
    if (node.size > 0) await step(() => node.blockStatus(0, node.size))
  }
  expect(opened).toBeGreaterThan(50)
})
