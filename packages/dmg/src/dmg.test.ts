/** Images of all kinds of chunks, wherever they are. */
import { deflateSync } from 'node:zlib'
import {
  type BlockNode,
  DriverRegistry,
  denyHost,
  openMemory,
  openNode,
  reopenNode,
} from '@vmblock/block-core'
import { createRandom, nodeOf, toBytes } from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import { dmg } from './driver.ts'
import { TYPE } from './format/chunks.ts'
import { type DmgChunk, type DmgWishes, dmgImage } from './testing/images.ts'
import { bytesOf, contentOf, PACKED } from './testing/packed.ts'

const environment = { registry: new DriverRegistry([dmg]), host: denyHost }
const SECTOR = 512

const open = (bytes: Uint8Array, options: object = { readOnly: true }): Promise<BlockNode> =>
  openNode(environment, { driver: 'dmg', file: openMemory(bytes), ...options })

const compress = (data: Uint8Array): Uint8Array => new Uint8Array(deflateSync(data))
const expectSame = (one: Uint8Array, other: Uint8Array): void => expect(Buffer.compare(one, other)).toBe(0)
const joined = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts))

const DATA = createRandom(4).bytes(45 * SECTOR)
/** Data of some sectors of {@link DATA}. */
const part = (sector: number, sectors: number): Uint8Array =>
  DATA.subarray(sector * SECTOR, (sector + sectors) * SECTOR)
const raw = (sector: number, sectors: number): DmgChunk => ({
  type: TYPE.raw,
  sector,
  sectors,
  data: part(sector, sectors),
})
const zlib = (sector: number, sectors: number): DmgChunk => ({
  type: TYPE.zlib,
  sector,
  sectors,
  data: compress(part(sector, sectors)),
})
const zero = (sector: number, sectors: number, type: number = TYPE.zero): DmgChunk => ({
  type,
  sector,
  sectors,
})

/** Ten raw sectors, ten of zeroes, ten compressed, ten raw. */
const CHUNKS = [raw(0, 10), zero(10, 6), zero(16, 4, TYPE.ignore), zlib(20, 10), raw(30, 10)]
const CONTENT = DATA.slice(0, 40 * SECTOR).fill(0, 10 * SECTOR, 20 * SECTOR)
const image = (wishes: Partial<DmgWishes> = {}): Uint8Array =>
  dmgImage({ tables: [{ chunks: CHUNKS }], sectors: 40, ...wishes })

describe('an image with', () => {
  const halves = [{ chunks: CHUNKS.slice(0, 3) }, { first: 20, chunks: [move(CHUNKS[3]!), move(CHUNKS[4]!)] }]
  function move(chunk: DmgChunk): DmgChunk {
    return { ...chunk, sector: chunk.sector - 20 }
  }

  it.each<[string, Partial<DmgWishes>]>([
    ['one table', {}],
    ['a table for each half', { tables: halves }],
    ['tables in another order, which QEMU does not read', { tables: [...halves].reverse() }],
    ['chunks in another order, which QEMU does not read', { tables: [{ chunks: [...CHUNKS].reverse() }] }],
    ['a chunk twice', { tables: [{ chunks: CHUNKS }, { chunks: [zero(10, 6)] }] }],
    ['an empty chunk', { tables: [{ chunks: [zero(3, 0), ...CHUNKS] }] }],
    ['a comment', { tables: [{ chunks: [zero(3, 5, TYPE.comment), ...CHUNKS] }] }],
    ['a resource fork', { resourceFork: true }],
    ['a data fork that begins later', { dataForkOffset: 700 }],
    ['a byte behind its trailer', { behind: 1 }],
    ['511 bytes behind its trailer', { behind: 511 }],
    ['no size in its trailer, where QEMU shows an empty disk', { sectors: 0 }],
    ['a comment in its property list', { editList: (xml) => `<!-- > <data>!</data> -->${xml}` }],
    [
      'empty data in its property list',
      { editList: (xml) => xml.replace('<data>', '<data/><data></data><data>') },
    ],
    ['attributes in its property list', { editList: (xml) => xml.replaceAll('<data>', '<data id="1">') }],
    ['text in its property list', { editList: (xml) => xml.replace('<dict>', '<![CDATA[<data>]]><dict>') }],
    [
      'a resource fork that is empty and nowhere, which QEMU refuses',
      { editTrailer: (trailer) => trailer.setBigUint64(40, 2n ** 63n) },
    ],
  ])('%s has its content', async (_, wishes) => {
    const node = await open(image(wishes))
    expectSame(await toBytes(node), CONTENT)
    const random = createRandom(9)
    for (let i = 0; i < 100; i++) {
      const offset = random.int(0, CONTENT.length)
      const into = new Uint8Array(random.int(1, CONTENT.length - offset + 1)).fill(0xee)
      await node.read(offset, into)
      expectSame(into, CONTENT.subarray(offset, offset + into.length))
    }
  })
})

it.each(PACKED)('reads chunks of $name', async (packed) => {
  const content = contentOf(packed.content)
  const sectors = content.length / SECTOR
  const chunks = [raw(0, 3), { type: packed.type, sector: 3, sectors, data: bytesOf(packed) }]
  const node = await open(dmgImage({ tables: [{ chunks }], sectors: 3 + sectors }))
  expectSame(await toBytes(node), joined(part(0, 3), content))
})

it('reads ADC chunks', async () => {
  const data = Uint8Array.of(0x80, 7, ...new Array(7).fill([0x7f, 0, 0]).flat(), 0x66, 0, 0)
  const node = await open(
    dmgImage({ tables: [{ chunks: [{ type: TYPE.adc, sector: 0, sectors: 1, data }] }], sectors: 1 }),
  )
  expectSame(await toBytes(node), new Uint8Array(SECTOR).fill(7))
})

it('fills raw chunks whose data is too short with zeroes, not with what was read before, as QEMU does', async () => {
  const short = { ...raw(10, 4), data: part(10, 4).subarray(0, 600) }
  const node = await open(dmgImage({ tables: [{ chunks: [raw(0, 10), short] }], sectors: 14 }))
  const content = DATA.slice(0, 14 * SECTOR).fill(0, 10 * SECTOR + 600)
  expectSame(await toBytes(node), content)
  expect(await node.blockStatus(10 * SECTOR + 600, 100)).toMatchObject({ bytes: 100, zero: true })
})

it('takes as much of a raw chunk as it has sectors', async () => {
  const chunks = [{ ...raw(0, 2), data: part(0, 9) }, raw(2, 3)]
  const node = await open(dmgImage({ tables: [{ chunks }], sectors: 5 }))
  expectSame(await toBytes(node), part(0, 5))
})

it('says what its chunks are', async () => {
  const bytes = image({ tables: [{ chunks: [...CHUNKS, raw(40, 5)] }], sectors: 50 })
  const node = await open(bytes)
  const map: object[] = []
  for (let at = 0; at < node.size; ) {
    const { bytes: run, data, zero, compressed = false, host } = await node.blockStatus(at, node.size - at)
    map.push([at / SECTOR, run / SECTOR, { data, zero, compressed, host: host?.offset }])
    at += run
  }
  const second = 10 * SECTOR + CHUNKS[3]!.data!.length
  const plain = { data: true, zero: false, compressed: false }
  expect(map).toEqual([
    [0, 10, { ...plain, host: 0 }],
    [10, 10, { data: false, zero: true, compressed: false, host: undefined }],
    [20, 10, { ...plain, compressed: true, host: undefined }],
    // Two raw chunks, one behind the other.
    [30, 15, { ...plain, host: second }],
    // No chunk has these.
    [45, 5, { ...plain, host: undefined }],
  ])
})

it('decodes a chunk once for many requests', async () => {
  const bytes = image()
  const offsets: number[] = []
  const file = nodeOf({
    size: () => bytes.length,
    async read(offset, into) {
      offsets.push(offset)
      into.set(bytes.subarray(offset, offset + into.length))
    },
  })
  const node = await openNode(environment, { driver: 'dmg', file, readOnly: true })
  offsets.length = 0
  const pieces = await Promise.all(
    Array.from({ length: 20 }, async (_, i) => {
      const into = new Uint8Array(SECTOR / 2)
      await node.read(20 * SECTOR + i * 256, into)
      return into
    }),
  )
  expectSame(joined(...pieces), part(20, 10))
  expect(offsets).toEqual([10 * SECTOR])
})

describe('opened for writing', () => {
  it('is refused in the words of QEMU', async () => {
    await expect(open(image(), {})).rejects.toMatchObject({ code: 'EACCES', message: 'Image is read-only' })
  })

  it('is read-only with auto-read-only, and stays so', async () => {
    const node = await open(image(), { autoReadOnly: true })
    expect(node.readOnly).toBe(true)
    await expect(node.write(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'EPERM' })
    await reopenNode(node, { cache: { noFlush: true } })
    const reader = await open(image())
    await expect(reopenNode(reader, { readOnly: false })).rejects.toThrow(/read.only/)
  })

  it('makes no images', () => {
    expect(dmg.creation).toBeUndefined()
  })
})

describe('probing', () => {
  const score = (bytes: Uint8Array, name = 'disk.img'): number =>
    Math.max(dmg.probe!(bytes.subarray(0, 512), name), dmg.probeTail!(bytes.subarray(-1024), name))

  it('finds the trailer, whatever the name, and less of it for names of images', () => {
    for (const behind of [0, 1, 100, 511])
      expect(score(image({ behind }).slice(-1024 - (behind % 512)))).toBe(100)
    const letters = new Uint8Array(4096)
    letters.set([0x6b, 0x6f, 0x6c, 0x79], 4096 - 600)
    expect(score(letters)).toBe(0)
    expect(score(letters, 'DISK.DMG')).toBe(100)
    expect(score(new Uint8Array(4096), 'raw.dmg')).toBe(0)
  })

  it('finds encrypted images of both versions', () => {
    const bytes = new Uint8Array(4096)
    bytes.set(Buffer.from('encrcdsa'))
    expect(score(bytes)).toBe(100)
    const old = new Uint8Array(4096)
    old.set(Buffer.from('cdsaencr'), 4088)
    expect(score(old)).toBe(100)
  })
})
