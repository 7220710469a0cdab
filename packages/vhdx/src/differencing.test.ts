/** Differencing images: which sectors are here and which in the parent, which image the parent is, and that nothing is written. */
import {
  type BlockNode,
  DriverRegistry,
  memory,
  openNode,
  type RawOptions,
  reopenNode,
} from '@vmblock/block-core'
import { describe, expect, it } from 'vitest'
import { vhdx } from './driver.ts'
import { encodeEntry } from './format/bat.ts'
import { guidText } from './format/guid.ts'
import { MIB } from './format/header.ts'
import {
  BAT_AT,
  bytesAt,
  createImage,
  emptyDisk,
  filled,
  headerOf,
  METADATA_AT,
  open,
  poke,
} from './testing/images.ts'

const SECTOR = 512
const LOCATOR_AT = METADATA_AT + 65536 + 4096
const RATIO = 4096

/** Where the child of these tests has its bitmap, its fully present block, and its partial one. */
const BITMAP_AT = 8 * MIB
const WHOLE_AT = 9 * MIB
const PART_AT = 10 * MIB

/** A parent locator. */
function locator(pairs: Readonly<Record<string, string>>): Uint8Array {
  const bytes = new Uint8Array(2048)
  const view = new DataView(bytes.buffer)
  view.setBigUint64(0, 0x4a81d19eb04aefb7n, true)
  view.setBigUint64(8, 0x135944e9b82589b7n, true)
  const all = Object.entries(pairs)
  view.setUint16(18, all.length, true)
  let at = 20 + all.length * 12
  const put = (text: string): number => {
    const start = at
    for (const unit of text) {
      view.setUint16(at, unit.charCodeAt(0), true)
      at += 2
    }
    return start
  }
  for (const [i, [key, value]] of all.entries()) {
    view.setUint32(20 + i * 12, put(key), true)
    view.setUint32(24 + i * 12, put(value), true)
    view.setUint16(28 + i * 12, key.length * 2, true)
    view.setUint16(30 + i * 12, value.length * 2, true)
  }
  return bytes
}

interface Child {
  readonly pairs?: Readonly<Record<string, string>>
  /** Bytes of a logical sector. */
  readonly sector?: number
}

/**
 * Makes a child of eight blocks: block 1 is fully present, block 2 has its sectors 1, 2 and 9, block 3 shows zeroes; the
 * others are not there.
 */
async function createChild({ pairs = {}, sector = SECTOR }: Child): Promise<BlockNode> {
  const file = await createImage({ block_state_zero: 'off' })
  await poke(file, METADATA_AT + 65536 + 4, 4, 2)
  await poke(file, METADATA_AT + 65536 + 32, 4, sector)
  // A sixth item of the metadata: the parent locator.
  await poke(file, METADATA_AT + 10, 2, 6)
  const item = METADATA_AT + 32 + 5 * 32
  await file.write(item, Uint8Array.from(Buffer.from('2d5fd3a80bb34d45abf7d3d84834ab0c', 'hex')))
  await poke(file, item + 16, 4, LOCATOR_AT - METADATA_AT)
  await poke(file, item + 20, 4, 2048)
  await poke(file, item + 24, 4, 4)
  await file.write(LOCATOR_AT, locator({ relative_path: '.\\dir\\base.vhdx', ...pairs }))
  const ratio = (RATIO * sector) / SECTOR
  const bat = new Uint8Array((ratio + 1) * 8)
  const view = new DataView(bat.buffer)
  encodeEntry(view, 8, 6, WHOLE_AT)
  encodeEntry(view, 16, 7, PART_AT)
  encodeEntry(view, 24, 2, 0)
  encodeEntry(view, ratio * 8, 6, BITMAP_AT)
  await file.write(BAT_AT, bat)
  await file.truncate(11 * MIB)
  await file.write(WHOLE_AT, filled(20, MIB))
  await file.write(PART_AT, filled(30, MIB))
  const bits = MIB / sector / 8
  await file.write(BITMAP_AT + 2 * bits, Uint8Array.of(0b110, 0b10))
  return file
}

/** Opens a child over what `base` names, noting the names that are asked for. */
async function openChild(
  file: BlockNode,
  base: RawOptions,
  options: RawOptions = {},
): Promise<{ readonly node: BlockNode; readonly asked: unknown[] }> {
  const asked: unknown[] = []
  const node = await openNode(
    {
      registry: new DriverRegistry([memory, vhdx]),
      host: {
        async resolve(reference) {
          asked.push({ filename: reference.filename, driver: reference.driver })
          return base
        },
      },
    },
    { driver: 'vhdx', file, readOnly: true, ...options },
  )
  return { node, asked }
}

/** A parent full of one value, as a file. */
async function createParent(): Promise<BlockNode> {
  const file = await createImage()
  const { node } = await open(file)
  await node.write(0, filled(10, 8 * MIB))
  await node.close()
  return file
}

const linkageOf = async (parent: BlockNode): Promise<string> =>
  `{${guidText((await headerOf(parent)).dataWriteGuid)}}`

describe('a differencing image', () => {
  it.each([SECTOR, 4096])('shows its own sectors of %i, and those of its parent', async (sector) => {
    const parent = await createParent()
    const child = await createChild({ sector, pairs: { parent_linkage: await linkageOf(parent) } })
    const { node, asked } = await openChild(child, { driver: 'vhdx', file: parent })
    expect(asked).toEqual([{ filename: 'dir/base.vhdx', driver: 'vhdx' }])
    const expected = filled(10, 8 * MIB)
    expected.fill(20, MIB, 2 * MIB)
    expected.fill(30, 2 * MIB + sector, 2 * MIB + 3 * sector)
    expected.fill(30, 2 * MIB + 9 * sector, 2 * MIB + 10 * sector)
    expected.fill(0, 3 * MIB, 4 * MIB)
    expect(Buffer.compare(await bytesAt(node, 0, 8 * MIB), expected)).toBe(0)
    for (const [at, bytes] of [
      [MIB - 3, 7],
      [2 * MIB + sector - 1, 3 * sector],
      [2 * MIB + 2 * sector + 5, 9],
    ] as const)
      expect(Buffer.compare(await bytesAt(node, at, bytes), expected.subarray(at, at + bytes))).toBe(0)
    const runs: unknown[] = []
    for (let at = 0; at < node.size; ) {
      const { bytes, allocated, data, host } = await node.blockStatus(at, node.size - at)
      runs.push([bytes / sector, allocated ? (data ? host?.offset : 'zero') : 'parent'])
      at += bytes
    }
    const all = MIB / sector
    expect(runs).toEqual([
      [all, 'parent'],
      [all, WHOLE_AT],
      [1, 'parent'],
      [2, PART_AT + sector],
      [6, 'parent'],
      [1, PART_AT + 9 * sector],
      [all - 10, 'parent'],
      [all, 'zero'],
      [4 * all, 'parent'],
    ])
    expect(await node.check()).toMatchObject({ corruptions: 0 })
    expect(await node.info()).toMatchObject({ backingFilename: 'dir/base.vhdx', backingFormat: 'vhdx' })
    await node.close()
  })

  it('is only read', async () => {
    const child = await createChild({})
    const message = 'VHDX differencing images can only be opened read-only'
    const opening = openChild(child, { driver: 'vhdx', file: await createParent() }, { readOnly: false })
    await expect(opening).rejects.toThrow(message)
    const { node } = await openChild(child, { driver: 'vhdx', file: await createParent() })
    await expect(reopenNode(node, { readOnly: false })).rejects.toThrow(message)
    await node.close()
  })

  it('refuses a parent that was written since', async () => {
    const parent = await createParent()
    const child = await createChild({ pairs: { parent_linkage: await linkageOf(parent) } })
    const { node: writer } = await open(parent)
    await writer.write(0, filled(1, 512))
    await writer.close()
    await expect(openChild(child, { driver: 'vhdx', file: parent })).rejects.toThrow('was changed after')
    const again = await createChild({
      pairs: { parent_linkage: `{${guidText(1n)}}`, parent_linkage2: await linkageOf(parent) },
    })
    await (await openChild(again, { driver: 'vhdx', file: parent })).node.close()
  })

  it('takes a parent of another format, which has no such GUID', async () => {
    const raw = await emptyDisk()
    await raw.write(0, filled(40, MIB))
    const child = await createChild({ pairs: { parent_linkage: `{${guidText(1n)}}` } })
    const { node } = await openChild(child, {}, { backing: raw })
    expect([...(await bytesAt(node, 0, 2))]).toEqual([40, 40])
    // Behind the end of a shorter parent, there are zeroes.
    expect([...(await bytesAt(node, 5 * MIB, 2))]).toEqual([0, 0])
    await node.close()
  })

  it('names its parent by an absolute path if there is no other', async () => {
    const child = await createChild({
      pairs: { relative_path: '', absolute_win32_path: 'C:\\vm\\base.vhdx' },
    })
    const { node, asked } = await openChild(child, { driver: 'vhdx', file: await createParent() })
    expect(asked).toEqual([{ filename: 'C:/vm/base.vhdx', driver: 'vhdx' }])
    await node.close()
  })

  it.each<[string, (file: BlockNode) => Promise<void>, string]>([
    ['no locator', (file) => poke(file, METADATA_AT + 10, 2, 5), 'has a parent, and no parent locator'],
    ['a locator of another type', (file) => poke(file, LOCATOR_AT, 2, 0), 'has the unknown type'],
    ['too many pairs', (file) => poke(file, LOCATOR_AT + 18, 2, 60_000), 'cannot have 60000 entries'],
    ['a pair outside', (file) => poke(file, LOCATOR_AT + 20, 4, 4000), 'points outside of itself'],
    ['no name', (file) => file.write(LOCATOR_AT, locator({})), 'names no file'],
    [
      'no bitmap',
      (file) => poke(file, BAT_AT + RATIO * 8, 8, 0),
      'has no sector bitmap, which block 2 needs',
    ],
    ['a bitmap outside', (file) => poke(file, BAT_AT + RATIO * 8, 8, 99 * MIB + 6), 'has no sector bitmap'],
  ])('with %s is refused', async (_, damage, message) => {
    const child = await createChild({})
    await damage(child)
    await expect(openChild(child, { driver: 'vhdx', file: await createParent() })).rejects.toThrow(message)
  })
})

describe('an image with logical sectors of 4096 bytes', () => {
  it('is read and written', async () => {
    const file = await createImage()
    await poke(file, METADATA_AT + 65536 + 32, 4, 4096)
    const { node } = await open(file)
    await node.write(3 * MIB + 512, filled(5, 512))
    await node.close()
    const { node: again } = await open(file, { readOnly: true })
    expect([...(await bytesAt(again, 3 * MIB + 511, 2))]).toEqual([0, 5])
    await again.close()
  })
})
