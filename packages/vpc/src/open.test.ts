/** Which files open, as what, and why others do not: damaged, hostile, and cut in the manner of other programs. */
import {
  type BlockNode,
  DriverRegistry,
  denyHost,
  memory,
  openMemory,
  openNode,
  reopenNode,
} from '@vmblock/block-core'
import { defineDriver } from '@vmblock/block-core/driver'
import { describe, expect, it, vi } from 'vitest'
import { vpc } from './driver.ts'
import { bytesAt, createImage, filled, open, poke, seal, shownIn } from './testing/images.ts'

const KIB = 1024
const BLOCK = 8 * KIB
const SIZE = 8 * BLOCK
/** Offsets in such an image: of the header, of the table, of the footer in an empty one. */
const [HEADER, TABLE, EMPTY_END] = [512, 1536, 2048]

const dynamic = (): Promise<BlockNode> => createImage({ size: SIZE, force_size: true, block_size: BLOCK })
const fixed = (): Promise<BlockNode> => createImage({ size: SIZE, force_size: true, subformat: 'fixed' })

/** Bytes of a number, big-endian. */
const word = (value: number | bigint, bytes = 4): number[] =>
  Array.from({ length: bytes }, (_, i) => Number((BigInt(value) >> BigInt((bytes - 1 - i) * 8)) & 255n))

/** Changes both footers of an image with blocks. */
async function pokeFooters(file: BlockNode, at: number, bytes: readonly number[]): Promise<void> {
  for (const start of [0, file.size - 512]) {
    await poke(file, start + at, bytes)
    await seal(file, start, 512)
  }
}

async function pokeHeader(file: BlockNode, at: number, bytes: readonly number[]): Promise<void> {
  await poke(file, HEADER + at, bytes)
  await seal(file, HEADER, 1024)
}

describe('refused', () => {
  it.each<[string, (file: BlockNode) => Promise<void>, string]>([
    ['an empty file', (file) => file.truncate(0), 'File too small for a VHD header'],
    ['no footer', async (file) => file.writeZeroes(0, file.size), 'invalid VPC image'],
    [
      'damaged footers',
      async (file) => {
        for (const at of [0, file.size - 512]) await poke(file, at + 300, [1])
      },
      'Incorrect header checksum',
    ],
    ['an unknown type', (file) => pokeFooters(file, 60, word(7)), 'VHD images of type 7 are not supported'],
    ['a huge disk', (file) => pokeFooters(file, 48, word(2n ** 63n, 8)), 'more than 2040 GiB'],
    [
      'a header behind the file',
      (file) => pokeFooters(file, 16, word(2n ** 64n - 1n, 8)),
      'Error reading dynamic VHD header',
    ],
    ['another header', (file) => pokeHeader(file, 0, [0]), 'Invalid header magic'],
    ['a damaged header', (file) => poke(file, HEADER + 900, [1]), 'Incorrect checksum of the dynamic header'],
    ['blocks of 0 bytes', (file) => pokeHeader(file, 32, word(0)), 'Invalid block size 0'],
    ['blocks of 3000 bytes', (file) => pokeHeader(file, 32, word(3000)), 'Invalid block size 3000'],
    ['blocks of 256 bytes', (file) => pokeHeader(file, 32, word(256)), 'Invalid block size 256'],
    ['a short table', (file) => pokeHeader(file, 28, word(7)), 'Page table too small'],
    [
      'a long table',
      (file) => pokeHeader(file, 28, word(0x3fff_ffff + 2)),
      'Max Table Entries too large (1073741825)',
    ],
    ['more table than file', (file) => pokeHeader(file, 28, word(1000)), 'Error reading pagetable'],
    [
      'a table behind the file',
      (file) => pokeHeader(file, 16, word(2n ** 64n - 16n, 8)),
      'Error reading pagetable',
    ],
    ['a block behind the file', (file) => poke(file, TABLE, word(1000)), 'The image has been truncated.'],
    [
      'a block at the end of the numbers',
      (file) => poke(file, TABLE, word(0xffff_fffe)),
      'The image has been truncated.',
    ],
  ])('with %s', async (_, damage, message) => {
    const file = await dynamic()
    await damage(file)
    await expect(open(file, { readOnly: true })).rejects.toThrow(message)
  })

  it('too many blocks for memory', async () => {
    const file = await dynamic()
    await file.truncate(2 ** 31)
    await pokeFooters(file, 48, word(2 ** 34, 8))
    await poke(file, HEADER + 28, word(2 ** 25))
    await pokeHeader(file, 32, word(512))
    await expect(open(file, { readOnly: true })).rejects.toMatchObject({ code: 'EFBIG' })
  })

  it('a fixed disk that is longer than the file', async () => {
    const file = await fixed()
    await poke(file, SIZE + 48, word(SIZE + 512, 8))
    await seal(file, SIZE, 512)
    await expect(open(file)).rejects.toThrow(`the file only ${SIZE} in front of its footer`)
  })

  it('an unknown way to calculate the size', async () => {
    await expect(open(await fixed(), { force_size_calc: 'x' })).rejects.toThrow(
      "Invalid size calculation mode: 'x'",
    )
  })

  it.each<[string, number[], string]>([
    ['overlap', [...word(4), ...word(10)], 'blocks 0 and 1 overlap at 5120'],
    ['are the same', [...word(4), ...word(4)], 'blocks 0 and 1 overlap at 2048'],
    ['lie over the table', [...word(3)], 'block 0 overlaps the table of blocks at 1536'],
    ['lie over the footer at 0', [...word(0)], 'block 0 overlaps the copy of the footer at 0'],
  ])('for writing, but not for reading: blocks that %s', async (_, entries, message) => {
    const file = await dynamic()
    const node = await open(file)
    await node.write(0, filled(1, 3 * BLOCK))
    await node.close()
    await poke(file, TABLE, entries)
    await expect(open(file)).rejects.toThrow(message)
    const reader = await open(file, { readOnly: true })
    await bytesAt(reader, 0, SIZE)
    await expect(reopenNode(reader, { readOnly: false })).rejects.toThrow(message)
  })
})

describe('a footer', () => {
  it.each<[string, (file: BlockNode) => Promise<void>]>([
    ['is missing', (file) => file.truncate(file.size - 512)],
    ['is damaged', (file) => poke(file, file.size - 400, [1])],
    ['is followed by up to 511 bytes', (file) => file.write(file.size, filled(7, 300))],
    ['has a copy at 0 that is damaged', (file) => poke(file, 3, [1])],
    ['has no copy at 0', (file) => file.writeZeroes(0, 512)],
  ])('%s: the image shows the same, and the next write makes it whole', async (_, damage) => {
    const file = await dynamic()
    const first = await open(file)
    await first.write(BLOCK, filled(1, BLOCK))
    await first.close()
    await damage(file)
    const reader = await open(file, { readOnly: true })
    expect(await shownIn(reader, BLOCK, BLOCK)).toEqual([1])
    await reader.close()
    const node = await open(file)
    await node.write(0, filled(2, 512))
    await node.close()
    const end = await bytesAt(file, file.size - 512, 512)
    expect(await bytesAt(file, 0, 512)).toEqual(end)
    const again = await open(file, { readOnly: true })
    expect([
      await shownIn(again, 0, 512),
      await shownIn(again, 512, BLOCK - 512),
      await shownIn(again, BLOCK, BLOCK),
    ]).toEqual([[2], [0], [1]])
  })

  it.each<[string, (file: BlockNode) => Promise<void>]>([
    ['of 511 bytes', (file) => file.truncate(file.size - 1)],
    ['that is cut off', (file) => file.truncate(file.size - 300)],
    ['that is padded', (file) => file.truncate(file.size + 100)],
  ])('%s ends a fixed image', async (_, damage) => {
    const file = await fixed()
    const node = await open(file)
    await node.write(0, filled(1, SIZE))
    await node.close()
    await damage(file)
    const again = await open(file)
    expect([again.size, await shownIn(again, 0, SIZE)]).toEqual([SIZE, [1]])
  })

  it('at the end of a fixed image counts, even if its disk begins like a VHD', async () => {
    const inner = await dynamic()
    const file = await fixed()
    const node = await open(file)
    await node.write(0, await bytesAt(inner, 0, EMPTY_END + 512))
    await node.close()
    const again = await open(file)
    expect((await again.info()).formatSpecific?.data).toMatchObject({ subformat: 'fixed' })
    expect(again.size).toBe(SIZE)
  })

  it('of another image at the end is data, after a crash', async () => {
    const inner = await dynamic()
    const file = await dynamic()
    const node = await open(file)
    await node.write(0, filled(1, BLOCK - 512))
    await node.write(BLOCK - 512, await bytesAt(inner, 0, 512))
    await node.close()
    await file.truncate(file.size - 512)
    const again = await open(file)
    expect(await shownIn(again, 0, BLOCK - 512)).toEqual([1])
  })
})

describe('without a named format', () => {
  const raw = defineDriver({
    name: 'raw',
    kind: 'format',
    probe: () => 1,
    open: async (context) => {
      const file = await context.requireChild('file')
      return { size: () => file.size, read: (offset, into) => file.read(offset, into) }
    },
  })
  const openAny = (file: BlockNode): Promise<BlockNode> =>
    openNode({ registry: new DriverRegistry([raw, memory, vpc]), host: denyHost }, { file })

  it('images of both kinds are recognized', async () => {
    expect((await openAny(await dynamic())).driver.name).toBe('vpc')
    expect((await openAny(await fixed())).driver.name).toBe('vpc')
    expect((await openAny(openMemory(new Uint8Array(4096)))).driver.name).toBe('raw')
    expect(vpc.probeTail!(filled(0, 1024), '')).toBe(0)
    expect(vpc.probe!(filled(0, 512), '')).toBe(0)
  })
})

describe('bitmaps', () => {
  it('say which sectors hold data: the others show zeroes, which QEMU does not know', async () => {
    const file = await dynamic()
    const first = await open(file)
    await first.write(0, filled(1, BLOCK))
    await first.close()
    await poke(file, EMPTY_END, [0b1010_0000, 0])
    const node = await open(file)
    expect([...(await bytesAt(node, 0, BLOCK))].filter((_, i) => i % 512 === 0)).toEqual([
      1,
      0,
      1,
      ...new Array(13).fill(0),
    ])
    expect(await node.blockStatus(0, SIZE)).toMatchObject({ bytes: 512, data: true, allocated: true })
    expect(await node.blockStatus(1536, SIZE)).toMatchObject({ bytes: SIZE - 1536, zero: true, data: false })
    // Part of a sector: the rest of it was zero, whatever lies there.
    await node.write(700, filled(2, 100))
    await node.writeZeroes(1024, 512)
    await node.write(BLOCK - 512, filled(3, 512))
    expect(await shownIn(node, 512, 188)).toEqual([0])
    await node.close()
    expect([...(await bytesAt(file, EMPTY_END, 2))]).toEqual([0b1110_0000, 1])
    const again = await open(file, { readOnly: true })
    expect([...(await bytesAt(again, 0, BLOCK))].filter((_, i) => i % 512 === 200)).toEqual([
      1,
      2,
      0,
      ...new Array(12).fill(0),
      3,
    ])
  })
})

it('a disk whose geometry leaves out blocks with data warns', async () => {
  const file = await createImage({ size: '1M', block_size: BLOCK })
  const first = await open(file)
  await first.write(first.size - 512, filled(1, 512))
  await first.close()
  await pokeFooters(file, 56, [0, 10])
  const warn = vi.fn()
  const environment = { registry: new DriverRegistry([memory, vpc]), host: denyHost, onWarn: warn }
  const node = await openNode(environment, { driver: 'vpc', file, readOnly: true })
  expect(node.size).toBe(10 * 4 * 17 * 512)
  expect(warn).toHaveBeenCalledExactlyOnceWith(expect.stringContaining('force_size_calc=current_size'))
  await node.close()
  const whole = await openNode(environment, { driver: 'vpc', file, forceSizeCalc: 'current_size' })
  expect(await shownIn(whole, whole.size - 512, 512)).toEqual([1])
  expect(warn).toHaveBeenCalledTimes(1)
})

it('a map of full blocks behind the table is left alone', async () => {
  const file = await dynamic()
  const footer = await bytesAt(file, 0, 512)
  await file.truncate(EMPTY_END + 1024)
  await file.write(EMPTY_END, Uint8Array.from([...'tdbatmap'].map((c) => c.charCodeAt(0))))
  await poke(file, EMPTY_END + 8, [...word(EMPTY_END + 512, 8), ...word(1)])
  await file.write(EMPTY_END + 512, filled(9, 512))
  const node = await open(file)
  await node.write(0, filled(1, 512))
  await node.close()
  expect(await shownIn(file, EMPTY_END + 512, 512)).toEqual([9])
  expect(await bytesAt(file, file.size - 512, 512)).toEqual(footer)
})
