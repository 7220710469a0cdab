/** Images of Bochs: what is read, what is refused, and with which words. */
import {
  type BlockNode,
  DriverRegistry,
  denyHost,
  openMemory,
  openNode,
  reopenNode,
} from '@vmblock/block-core'
import { createRandom, toBytes } from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import { bochs } from './driver.ts'
import { type BochsWishes, bochsImage } from './testing/images.ts'

const environment = { registry: new DriverRegistry([bochs]), host: denyHost }

const open = (bytes: Uint8Array, options: object = { readOnly: true }): Promise<BlockNode> =>
  openNode(environment, { driver: 'bochs', file: openMemory(bytes), ...options })

/** Sectors of data and of zeroes, in runs. */
function sparse(seed: number, sectors: number): Uint8Array {
  const random = createRandom(seed)
  const content = new Uint8Array(sectors * 512)
  for (let at = 0; at < sectors; ) {
    const run = random.int(1, 12)
    if (random.chance(0.5)) content.set(random.bytes(Math.min(run, sectors - at) * 512), at * 512)
    at += run
  }
  return content
}

const CONTENT = sparse(1, 64)
const image = (wishes?: BochsWishes): Uint8Array => bochsImage(CONTENT, wishes)
const expectSame = (one: Uint8Array, other: Uint8Array): void => expect(Buffer.compare(one, other)).toBe(0)

describe('an image that is refused', () => {
  const poke = (at: number, value: number): Uint8Array => {
    const bytes = image()
    new DataView(bytes.buffer).setUint32(at, value, true)
    return bytes
  }
  it.each<[string, Uint8Array, string, string]>([
    ['another magic', poke(0, 0x21212121), 'EINVAL', 'Image not in Bochs format'],
    ['another type', poke(32, 0x21212121), 'EINVAL', 'Image not in Bochs format'],
    ['an unknown kind', image({ subtype: 'Shrinking' }), 'EINVAL', 'Image not in Bochs format'],
    ['another version', poke(64, 0x30000), 'EINVAL', 'Image not in Bochs format'],
    ['nothing', new Uint8Array(0), 'EINVAL', 'Image not in Bochs format'],
    [
      'the changes of another image',
      image({ subtype: 'Undoable' }),
      'ENOTSUP',
      'The Bochs image holds changes of another image (Undoable), and no disk',
    ],
    ['too large a catalog', poke(72, 0x100001), 'EFBIG', 'Catalog size is too large'],
    ['an extent that is too small', poke(80, 256), 'EINVAL', 'Extent size must be at least 512'],
    ['an odd extent', poke(80, 5000), 'EINVAL', 'Extent size 5000 is not a power of two'],
    ['a huge extent', poke(80, 2 ** 31), 'EINVAL', 'Extent size 2147483648 is too large'],
    ['too small a catalog', poke(72, 7), 'EINVAL', 'Catalog size is too small for this disk size'],
    ['a huge disk', poke(92, 0x10000), 'EINVAL', 'Catalog size is too small for this disk size'],
    [
      'a disk that no number holds',
      poke(92, 0xffffffff),
      'EFBIG',
      'field at byte 88 exceeds 2^53-1: 0xffffffff00008000',
    ],
    [
      'no bitmap, where QEMU wraps around',
      poke(76, 0),
      'EINVAL',
      'The bitmap of 0 bytes has fewer bits than an extent of 4096 bytes has sectors',
    ],
    [
      'a catalog behind the end of the file',
      poke(68, 0xfffffff0),
      'EINVAL',
      'The catalog of 8 entries ends behind the end of the file',
    ],
  ])('has %s', async (_, bytes, code, message) => {
    await expect(open(bytes)).rejects.toMatchObject({ code, message })
  })

  it('is opened for writing', async () => {
    await expect(open(image(), {})).rejects.toMatchObject({ code: 'EACCES', message: 'Image is read-only' })
    const node = await open(image(), { autoReadOnly: true })
    expect(node.readOnly).toBe(true)
    await expect(node.write(0, new Uint8Array(1))).rejects.toMatchObject({ code: 'EPERM' })
    const reader = await open(image())
    await expect(reopenNode(reader, { readOnly: false })).rejects.toThrow(/read.only/)
  })
})

describe.each<[string, BochsWishes]>([
  ['small extents', {}],
  ['the first version', { version: 1 }],
  ['extents of one sector', { extentSize: 512 }],
  ['large extents', { extentSize: 65536 }],
  ['extents backwards', { backwards: true }],
])('an image with %s', (_, wishes) => {
  it('has the content it was made of', async () => {
    const node = await open(image(wishes))
    expectSame(await toBytes(node), CONTENT)
    const random = createRandom(9)
    for (let i = 0; i < 200; i++) {
      const offset = random.int(0, CONTENT.length)
      const into = new Uint8Array(random.int(1, CONTENT.length - offset + 1)).fill(0xee)
      await node.read(offset, into)
      expectSame(into, CONTENT.subarray(offset, offset + into.length))
    }
  })

  it('says where its data is, and what is zero', async () => {
    const bytes = image(wishes)
    const node = await open(bytes)
    for (let at = 0; at < node.size; ) {
      const status = await node.blockStatus(at, node.size - at)
      const content = CONTENT.subarray(at, at + status.bytes)
      if (status.host) {
        expect(status).toMatchObject({ allocated: true, data: true, zero: false })
        expectSame(bytes.subarray(status.host.offset, status.host.offset + status.bytes), content)
      } else {
        expect(status).toMatchObject({ allocated: false, data: false, zero: true })
        expect(content.every((byte) => byte === 0)).toBe(true)
      }
      at += status.bytes
    }
  })
})

it('joins zeroes of many extents in one answer', async () => {
  const content = new Uint8Array(16 * 4096)
  content[15 * 4096] = 1
  const node = await open(bochsImage(content))
  expect(await node.blockStatus(0, node.size)).toMatchObject({ bytes: 15 * 4096, zero: true })
})

it('has whole sectors, as in QEMU', async () => {
  const bytes = image()
  new DataView(bytes.buffer).setBigUint64(88, BigInt(CONTENT.length - 1), true)
  expect((await open(bytes)).size).toBe(CONTENT.length - 512)
})

it('fails where an extent is behind the end of the file, and nowhere else', async () => {
  const full = createRandom(3).bytes(4 * 4096)
  const bytes = bochsImage(full)
  const cut = await open(bytes.slice(0, -4096))
  const last = { code: 'EIO', message: 'Extent 3 of the Bochs image lies behind the end of the file' }
  await expect(cut.read(3 * 4096, new Uint8Array(512))).rejects.toMatchObject(last)
  await cut.read(0, new Uint8Array(3 * 4096))
  new DataView(bytes.buffer).setUint32(512 + 12, 0xfffffffe, true)
  const far = await open(bytes)
  await expect(far.read(3 * 4096, new Uint8Array(512))).rejects.toMatchObject(last)
  await expect(far.blockStatus(3 * 4096, 512)).rejects.toMatchObject({ code: 'EIO' })
})

it('is recognized, whatever the version, only as a growing one', () => {
  const score = (wishes?: BochsWishes): number => bochs.probe!(image(wishes).subarray(0, 512), '')
  expect(score()).toBe(100)
  expect(score({ version: 1 })).toBe(100)
  expect(score({ subtype: 'Volatile' })).toBe(0)
  expect(bochs.probe!(new Uint8Array(512), '')).toBe(0)
})
