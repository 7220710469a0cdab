/** Cloop images: what is read, what is refused, and with which words. */
import { deflateSync } from 'node:zlib'
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
import { cloop } from './driver.ts'
import { SCRIPT } from './format/header.ts'
import { cloopImage } from './testing/images.ts'

const environment = { registry: new DriverRegistry([cloop]), host: denyHost }
const compress = (block: Uint8Array): Uint8Array => new Uint8Array(deflateSync(block))
const CONTENT = createRandom(5).bytes(3 * 4096)
const image = (): Uint8Array => cloopImage(CONTENT, { compress })

const open = (bytes: Uint8Array, options: object = { readOnly: true }): Promise<BlockNode> =>
  openNode(environment, { driver: 'cloop', file: openMemory(bytes), ...options })

const poke = (at: number, value: number | bigint): Uint8Array => {
  const bytes = image()
  const view = new DataView(bytes.buffer)
  if (typeof value === 'bigint') view.setBigUint64(at, value)
  else view.setUint32(at, value)
  return bytes
}

describe('an image that is refused', () => {
  it.each<[string, Uint8Array, string, string]>([
    ['a block of 1000 bytes', poke(128, 1000), 'EINVAL', 'block_size 1000 must be a multiple of 512'],
    ['a block of nothing', poke(128, 0), 'EINVAL', 'block_size cannot be zero'],
    [
      'a block that is too large',
      poke(128, 2 ** 26 + 512),
      'EINVAL',
      'block_size 67109376 must be 64 MB or less',
    ],
    ['too many blocks', poke(132, 2 ** 29), 'EINVAL', 'n_blocks 536870912 must be 536870911 or less'],
    [
      'too large a table',
      poke(132, 2 ** 29 - 1),
      'EINVAL',
      'image requires too many offsets, try increasing block size',
    ],
    [
      'a table behind the end of the file',
      poke(132, 2 ** 22),
      'EINVAL',
      'the table of 4194304 blocks ends at 33554576, behind the end of the file',
    ],
    [
      'offsets that go back',
      poke(144, 5n),
      'EINVAL',
      'offsets not monotonically increasing at index 1, image file is corrupt',
    ],
    [
      'a huge compressed block',
      poke(160, 2n ** 30n),
      'EINVAL',
      'invalid compressed block size at index 3, image file is corrupt',
    ],
    [
      'an offset of 64 bits',
      poke(160, 2n ** 64n - 1n),
      'EINVAL',
      'invalid compressed block size at index 3, image file is corrupt',
    ],
    ['an offset that no number holds', hugeOffsets(), 'EFBIG', 'the offset at index 0 exceeds 2^53-1'],
    // What is behind the end reads as zeroes.
    ['a file that ends within the numbers', image().slice(0, 130), 'EINVAL', 'block_size cannot be zero'],
    ['nothing', new Uint8Array(0), 'EINVAL', 'block_size cannot be zero'],
  ])('has %s', async (_, bytes, code, message) => {
    await expect(open(bytes)).rejects.toMatchObject({ code, message })
  })

  function hugeOffsets(): Uint8Array {
    const bytes = image()
    const view = new DataView(bytes.buffer)
    for (let i = 0; i < 4; i++) view.setBigUint64(136 + i * 8, 2n ** 60n)
    return bytes
  }

  it('is opened for writing', async () => {
    await expect(open(image(), {})).rejects.toMatchObject({ code: 'EACCES', message: 'Image is read-only' })
    const node = await open(image(), { autoReadOnly: true })
    expect(node.readOnly).toBe(true)
    await reopenNode(node, { cache: { noFlush: true } })
    await expect(
      reopenNode(node, { options: { 'auto-read-only': false, 'read-only': false } }),
    ).rejects.toThrow(/is read.only/)
  })
})

describe('a block that cannot be read leaves the others readable:', () => {
  const offsetsOf = (bytes: Uint8Array) => (i: number) =>
    Number(new DataView(bytes.buffer).getBigUint64(136 + i * 8))

  it.each<[string, (bytes: Uint8Array) => Uint8Array, RegExp]>([
    [
      'data that is not zlib',
      (bytes) => bytes.fill(0xff, offsetsOf(bytes)(1), offsetsOf(bytes)(1) + 9),
      /begin/,
    ],
    ['another checksum', (bytes) => flip(bytes, offsetsOf(bytes)(2) - 1), /checksum/],
    [
      'no data',
      (bytes) => {
        new DataView(bytes.buffer).setBigUint64(152, BigInt(offsetsOf(bytes)(1)))
        return bytes
      },
      /begin/,
    ],
  ])('%s', async (_, change, why) => {
    const node = await open(change(image()))
    await expect(node.read(4096, new Uint8Array(512))).rejects.toMatchObject({
      code: 'EIO',
      offset: 4096,
      message: expect.stringMatching(why),
    })
    const first = new Uint8Array(4096)
    await node.read(0, first)
    expect(first).toEqual(CONTENT.subarray(0, 4096))
  })

  it('less and more than a block', async () => {
    for (const bytes of [4095, 4097]) {
      const bad = cloopImage(CONTENT, { compress: () => compress(new Uint8Array(bytes)) })
      await expect((await open(bad)).read(0, new Uint8Array(1))).rejects.toMatchObject({ code: 'EIO' })
    }
  })

  it('a file that ends within the last block', async () => {
    const node = await open(image().slice(0, -1))
    await expect(node.read(8192, new Uint8Array(1))).rejects.toThrow(/Block 2 .* behind the end of the file/)
    await node.read(0, new Uint8Array(8192))
  })

  function flip(bytes: Uint8Array, at: number): Uint8Array {
    bytes[at]! ^= 1
    return bytes
  }
})

it('is read by pieces that cross its blocks', async () => {
  const node = await open(image())
  expect(await toBytes(node)).toEqual(CONTENT)
  const random = createRandom(9)
  for (let i = 0; i < 200; i++) {
    const offset = random.int(0, CONTENT.length)
    const into = new Uint8Array(random.int(1, CONTENT.length - offset + 1))
    await node.read(offset, into)
    expect(Buffer.compare(into, CONTENT.subarray(offset, offset + into.length))).toBe(0)
  }
})

it('says what it is', async () => {
  const node = await open(image())
  expect(node.size).toBe(3 * 4096)
  expect(await node.info()).toMatchObject({ clusterSize: 4096, compressed: true })
  expect(await node.blockStatus(0, node.size)).toMatchObject({
    bytes: node.size,
    allocated: true,
    data: true,
    zero: false,
    compressed: true,
  })
  for (const operation of ['write', 'writeZeroes', 'discard', 'truncate', 'check'] as const)
    expect(node.can(operation)).toBe(false)
})

it('is larger than 2 TiB without being cut, as QEMU cuts it', async () => {
  const blocks = 32769
  const bytes = new Uint8Array(136 + (blocks + 1) * 8)
  const view = new DataView(bytes.buffer)
  view.setUint32(128, 2 ** 26)
  view.setUint32(132, blocks)
  for (let i = 0; i <= blocks; i++) view.setBigUint64(136 + i * 8, BigInt(bytes.length))
  expect((await open(bytes)).size).toBe(blocks * 2 ** 26)
})

it('is recognized by its script', () => {
  const head = new Uint8Array(512)
  head.set(image().subarray(0, 512))
  expect(cloop.probe!(head, '')).toBe(2)
  head[SCRIPT.length - 1]! ^= 1
  expect(cloop.probe!(head, '')).toBe(0)
  expect(cloop.probe!(new Uint8Array(512), '')).toBe(0)
})
