/** Images of which one field is broken: what is refused, in which words; and what is not, though QEMU does. */
import type { BlockNode } from '@vmblock/block-core'
import { FindingList } from '@vmblock/block-core/check'
import { describe, expect, it } from 'vitest'
import { MIB } from './format/header.ts'
import {
  BAT_AT,
  bytesAt,
  createImage,
  DATA_AT,
  emptyDisk,
  filled,
  METADATA_AT,
  open,
  poke,
  setHeaders,
  sign,
} from './testing/images.ts'

const REGIONS = 192 * 1024
const REGIONS_2 = 256 * 1024
const BAT_REGION = REGIONS + 16
const METADATA_REGION = REGIONS + 48
const ITEMS_AT = METADATA_AT + 65536

/** Changes a value of the first region table, signs it, and makes the second a copy. */
async function pokeRegions(
  file: BlockNode,
  offset: number,
  width: 2 | 4 | 8,
  value: number | bigint,
): Promise<void> {
  await poke(file, offset, width, value)
  await sign(file, REGIONS)
  await file.write(REGIONS_2, await bytesAt(file, REGIONS, 65536))
}

type Damage = (file: BlockNode) => Promise<void>

const both =
  (first: Damage, second: Damage): Damage =>
  async (file) => {
    await first(file)
    await second(file)
  }

/** An image whose first block has data. */
async function used(): Promise<BlockNode> {
  const file = await createImage()
  const { node } = await open(file)
  await node.write(0, filled(1, 2 * MIB))
  await node.close()
  return file
}

const CASES: readonly [string, Damage, string][] = [
  ['signature', (file) => poke(file, 0, 2, 0), 'Image not in VHDX format'],
  [
    'both headers',
    both(
      (file) => poke(file, 65536 + 100, 2, 1),
      (file) => poke(file, 131072 + 100, 2, 1),
    ),
    'No valid VHDX header found',
  ],
  [
    'two current headers',
    (file) => setHeaders(file, { sequence: 5n, logVersion: 0 }).then(() => setOne(file)),
    'No valid VHDX header found',
  ],
  ['log version', (file) => setHeaders(file, { logVersion: 1 }), 'VHDX log version 1 is unknown'],
  ['log offset', (file) => setHeaders(file, { logOffset: 4096 }), 'the VHDX log cannot lie at 4096-1052672'],
  [
    'log length',
    (file) => setHeaders(file, { logLength: 4096 }),
    'the VHDX log cannot lie at 1048576-1052672',
  ],
  [
    'both region tables',
    both(
      (file) => poke(file, REGIONS + 20, 2, 7),
      (file) => poke(file, REGIONS_2 + 20, 2, 7),
    ),
    'both VHDX region tables are damaged',
  ],
  [
    'too many regions',
    (file) => pokeRegions(file, REGIONS + 8, 4, 2048),
    'both VHDX region tables are damaged',
  ],
  ['no metadata region', (file) => pokeRegions(file, REGIONS + 8, 4, 1), 'lacks the metadata'],
  ['no BAT region', (file) => pokeRegions(file, BAT_REGION, 4, 1), 'lacks the block allocation table'],
  [
    'a required region',
    both(
      (file) => poke(file, METADATA_REGION, 4, 1),
      (file) => pokeRegions(file, METADATA_REGION + 28, 4, 1),
    ),
    'unknown VHDX region 00000001-4790-4B9A-B8FE-575F050F886E',
  ],
  [
    'regions that overlap',
    (file) => pokeRegions(file, METADATA_REGION + 16, 8, BAT_AT),
    'VHDX region 2097152-3145728 overlaps with region 2097152-3145728',
  ],
  [
    'a region behind the end',
    (file) => pokeRegions(file, METADATA_REGION + 16, 8, 100 * MIB),
    'points after end of file',
  ],
  ['a region far away', (file) => pokeRegions(file, METADATA_REGION + 16, 8, 2n ** 63n), '2^53-1'],
  [
    'a region between places',
    (file) => pokeRegions(file, METADATA_REGION + 16, 8, 4 * MIB + 4096),
    'cannot lie at',
  ],
  ['metadata signature', (file) => poke(file, METADATA_AT, 2, 0), 'wrong signature'],
  ['too many items', (file) => poke(file, METADATA_AT + 10, 2, 2048), 'cannot have 2048 entries'],
  ['an item that is missing', (file) => poke(file, METADATA_AT + 10, 2, 4), 'lacks the physical sector size'],
  [
    'an item in the table',
    (file) => poke(file, METADATA_AT + 32 + 16, 4, 100),
    'the file parameters at 100-108',
  ],
  [
    'an item behind the region',
    (file) => poke(file, METADATA_AT + 32 + 16, 4, MIB - 4),
    'where it cannot be',
  ],
  [
    'an item that is too short',
    (file) => poke(file, METADATA_AT + 32 + 20, 4, 4),
    'only 4 bytes for the file parameters',
  ],
  ['an unknown item that is required', (file) => poke(file, METADATA_AT + 64, 4, 1), 'unknown VHDX metadata'],
  [
    'an item twice',
    async (file) => file.write(METADATA_AT + 64, await bytesAt(file, METADATA_AT + 32, 32)),
    'the file parameters twice',
  ],
  ['block size 0', (file) => poke(file, ITEMS_AT, 4, 0), 'VHDX block size 0'],
  ['block size 3 MiB', (file) => poke(file, ITEMS_AT, 4, 3 * MIB), 'VHDX block size 3145728'],
  ['block size 512 MiB', (file) => poke(file, ITEMS_AT, 4, 512 * MIB), 'VHDX block size 536870912'],
  ['a disk above 64 TiB', (file) => poke(file, ITEMS_AT + 8, 8, 2n ** 46n + 512n), 'larger than 64 TiB'],
  ['a disk above 2^53', (file) => poke(file, ITEMS_AT + 8, 8, 2n ** 63n), '2^53-1'],
  ['a disk that ends within a sector', (file) => poke(file, ITEMS_AT + 8, 8, 1000), 'ends within a sector'],
  [
    'a disk that the BAT is too small for',
    (file) => poke(file, ITEMS_AT + 8, 8, 2n ** 40n),
    'the VHDX block allocation table has 1048576 bytes',
  ],
  ['logical sectors', (file) => poke(file, ITEMS_AT + 32, 4, 1024), 'logical sector size 1024'],
  ['physical sectors', (file) => poke(file, ITEMS_AT + 36, 4, 0), 'physical sector size 0'],
  [
    'a block behind the end',
    (file) => poke(file, BAT_AT, 8, 100 * MIB + 6),
    `VHDX BAT entry 0 start offset 104857600 points after end of file (${10 * MIB}). Image has probably been truncated.`,
  ],
  [
    'a block over the end',
    (file) => file.truncate(10 * MIB - 512),
    `VHDX BAT entry 1 end offset ${10 * MIB - 1} points after end of file`,
  ],
  [
    'a block at 2^64',
    (file) => poke(file, BAT_AT, 8, 0xfffffffffff00006n),
    'VHDX BAT entry 0 offset overflow.',
  ],
  [
    'a block in the headers',
    (file) => poke(file, BAT_AT, 8, 6),
    'VHDX BAT entry 0 start offset 0 is in the headers.',
  ],
  [
    'a block in the log',
    (file) => poke(file, BAT_AT, 8, MIB + 6),
    'VHDX region 1048576-2097152 overlaps with region 1048576-2097152',
  ],
]

async function setOne(file: BlockNode): Promise<void> {
  const before = await bytesAt(file, 131072, 4096)
  before[40]! ^= 1
  await file.write(131072, before)
  await sign(file, 131072, 4096)
}

describe('refused', () => {
  it.each(CASES)('%s', async (_, damage, message) => {
    const file = await used()
    await damage(file)
    const before = await bytesAt(file, 0, MIB)
    for (const readOnly of [true, false]) await expect(open(file, { readOnly })).rejects.toThrow(message)
    expect(Buffer.compare(await bytesAt(file, 0, MIB), before)).toBe(0)
  })

  it('an empty file', async () => {
    await expect(open(await emptyDisk())).rejects.toThrow('Image not in VHDX format')
  })
})

/** The messages of a check. */
async function check(
  file: BlockNode,
): Promise<{ readonly messages: string[]; readonly corruptions: number }> {
  const { node } = await open(file, { 'check-mode': true, readOnly: true })
  const list = new FindingList()
  const { corruptions } = await node.check({ report: (finding) => list.add(finding) })
  await node.close()
  return { messages: list.findings.map(({ message }) => message), corruptions }
}

describe('found by a check', () => {
  it.each<[string, Damage, string[]]>([
    ['nothing', async () => undefined, []],
    [
      'two blocks in one place',
      (file) => poke(file, BAT_AT + 8, 8, DATA_AT + 6),
      ['VHDX blocks 0 and 1 overlap in the file.'],
    ],
    [
      'reserved bits',
      (file) => poke(file, BAT_AT, 8, DATA_AT + 6 + 8),
      ['VHDX BAT entry 0 has reserved bits set.'],
    ],
    ['state 4', (file) => poke(file, BAT_AT, 8, DATA_AT + 4), ['VHDX BAT entry 0 has the invalid state 4.']],
    [
      'state 7 without a parent',
      (file) => poke(file, BAT_AT, 8, DATA_AT + 7),
      ['VHDX BAT entry 0 has the invalid state 7.'],
    ],
    [
      'a block behind the end',
      (file) => poke(file, BAT_AT + 16, 8, 100 * MIB + 6),
      [expect.stringContaining('VHDX BAT entry 2 start offset')],
    ],
  ])('%s', async (_, damage, messages) => {
    const file = await used()
    await damage(file)
    expect(await check(file)).toEqual({ messages, corruptions: messages.length })
  })
})

describe('not as in QEMU', () => {
  it('the second region table serves if the first is damaged', async () => {
    const file = await used()
    await poke(file, REGIONS + 20, 4, 99)
    const { node } = await open(file)
    expect((await bytesAt(node, 0, 1))[0]).toBe(1)
    await node.close()
  })

  it('unknown regions and items that are not required are skipped', async () => {
    const file = await used()
    await poke(file, METADATA_AT + 10, 2, 6)
    const { node } = await open(file)
    await node.close()
  })

  it('blocks that overlap are not written, but read', async () => {
    const file = await used()
    await poke(file, BAT_AT + 8, 8, DATA_AT + 6)
    await expect(open(file)).rejects.toThrow('VHDX blocks 0 and 1 overlap in the file')
    const { node } = await open(file, { readOnly: true })
    expect((await bytesAt(node, MIB, 1))[0]).toBe(1)
    await node.close()
  })

  it('a block in an unknown state is refused, others are read and written', async () => {
    const file = await used()
    await poke(file, BAT_AT, 8, DATA_AT + 4)
    const { node } = await open(file)
    const message = 'VHDX block 0 is in state 4, which says nothing of its content'
    await expect(bytesAt(node, MIB - 1, 1)).rejects.toThrow(message)
    await expect(node.write(0, filled(1, 1))).rejects.toThrow(message)
    await expect(bytesAt(node, 0, 2 * MIB)).rejects.toThrow(message)
    await node.write(MIB, filled(7, 512))
    await node.write(5 * MIB, filled(7, 512))
    expect((await bytesAt(node, MIB, 1))[0]).toBe(7)
    await node.close()
  })

  it('an image of no bytes has a table of one MiB', async () => {
    const file = await createImage({ size: 0 })
    expect(file.size).toBe(DATA_AT)
    const { node } = await open(file)
    expect(node.size).toBe(0)
    await node.close()
  })

  it('a fixed image has all of its blocks from the beginning', async () => {
    const file = await createImage({ subformat: 'fixed', size: 3 * MIB + 512 })
    expect(file.size).toBe(DATA_AT + 3 * MIB + 512)
    const { node } = await open(file)
    expect(await node.blockStatus(0, node.size)).toMatchObject({
      bytes: node.size,
      data: true,
      host: { offset: DATA_AT },
    })
    await node.write(3 * MIB, filled(1, 512))
    await node.close()
    expect(file.size).toBe(DATA_AT + 3 * MIB + 512)
  })

  it.each([0, 512, 1024])('entry %i is logged in its place, and its neighbours stay', async (block) => {
    const file = await createImage({ size: 2048 * MIB })
    const { node } = await open(file)
    for (const each of [block + 1, block]) {
      await node.write(each * MIB, filled(9, 512))
      await node.flush()
    }
    await node.crash()
    const { node: again } = await open(file)
    for (const each of [block, block + 1]) expect((await bytesAt(again, each * MIB, 1))[0]).toBe(9)
    expect(await again.check()).toMatchObject({ corruptions: 0 })
    await again.close()
  })
})
