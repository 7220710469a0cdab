/** Differencing images: how they name their parent, whether it still is the one, and what shows through. */
import {
  type BlockNode,
  createImage as createFile,
  DriverRegistry,
  denyHost,
  formatImage,
  type ImageResolver,
  memory,
  openMemory,
  openNode,
  reopenNode,
} from '@vmblock/block-core'
import { BlockError } from '@vmblock/block-core/driver'
import { describe, expect, it } from 'vitest'
import { vpc } from './driver.ts'
import { parentFacts } from './parent-facts.ts'
import { bytesAt, createImage, filled, open, poke, seal, shownIn } from './testing/images.ts'

const BLOCK = 8192
const SIZE = 6 * BLOCK

const sectorsOf = async (node: BlockNode, offset: number, bytes: number): Promise<number[]> =>
  [...(await bytesAt(node, offset, bytes))].filter((_, i) => i % 512 === 0)

/** A full parent, with the byte 9. */
async function makeBase(): Promise<BlockNode> {
  const file = await createImage({ size: SIZE, force_size: true, block_size: BLOCK })
  const node = await open(file)
  await node.write(0, filled(9, SIZE))
  await node.close()
  return file
}

/** An image over an open one. */
async function makeOver(base: BlockNode, name = 'base.vhd'): Promise<BlockNode> {
  const file = openMemory(new Uint8Array(0))
  const node = await open(base, { readOnly: true })
  const identity = { driver: 'vpc', info: await node.info() }
  await formatImage(
    vpc,
    file,
    { size: node.size, blockSize: BLOCK, backingFile: name, backingFmt: 'vpc' },
    undefined,
    { describeBacking: async () => identity },
  )
  await node.close()
  return file
}

/** Hosts files by name, and notes which names were tried. */
function hostOf(files: Readonly<Record<string, BlockNode>>, tried: string[] = []): ImageResolver {
  return {
    async resolve({ filename, driver }) {
      tried.push(filename)
      const file = files[filename]
      if (!file) throw new BlockError('ENOENT', `no ${filename}`)
      return { driver, file }
    },
  }
}

describe('a differencing image', () => {
  it('shows its parent, except for the sectors that it holds', async () => {
    const base = await makeBase()
    const file = await makeOver(base)
    const node = await open(file, {}, hostOf({ 'base.vhd': base }))
    expect(await shownIn(node, 0, SIZE)).toEqual([9])
    await node.write(BLOCK + 1024, filled(1, 1024))
    await node.write(3 * BLOCK + 700, filled(2, 10))
    await node.writeZeroes(4 * BLOCK, 512)
    expect(await sectorsOf(node, BLOCK, 3072)).toEqual([9, 9, 1, 1, 9, 9])
    expect([...(await bytesAt(node, 3 * BLOCK + 699, 12))]).toEqual([9, ...filled(2, 10), 9])
    expect(await sectorsOf(node, 4 * BLOCK, 1024)).toEqual([0, 9])
    expect(await node.blockStatus(0, SIZE)).toMatchObject({
      bytes: BLOCK + 1024,
      allocated: false,
      zero: false,
    })
    expect(await node.blockStatus(BLOCK + 1024, SIZE)).toMatchObject({
      bytes: 1024,
      allocated: true,
      data: true,
    })
    const shown = await bytesAt(node, 0, SIZE)
    await node.close()
    const again = await open(file, { readOnly: true }, hostOf({ 'base.vhd': base }))
    expect(await bytesAt(again, 0, SIZE)).toEqual(shown)
    await again.close()
    // Without its parent, only what it holds: never zeroes by mistake, but by the user's word.
    const alone = await open(file, { readOnly: true, backing: null })
    expect(await sectorsOf(alone, BLOCK, 3072)).toEqual([0, 0, 1, 1, 0, 0])
  })

  it('writes no more than the sectors that were written', async () => {
    const base = await makeBase()
    const file = await makeOver(base)
    const node = await open(file, {}, hostOf({ 'base.vhd': base }))
    const before = file.size
    await node.write(0, filled(1, 512))
    await node.close()
    expect(file.size).toBe(before + 512 + BLOCK)
    expect(await shownIn(file, before + 512, BLOCK - 512)).toEqual([0])
  })

  it('grows, and the new part shows zeroes, also where the parent has data', async () => {
    const base = await makeBase()
    for (const zero of [false, true]) {
      const top = openMemory(new Uint8Array(0))
      await formatImage(vpc, top, { size: BLOCK + 512, blockSize: BLOCK, subformat: 'differencing' })
      const node = await open(top, { backing: await open(base, { readOnly: true }) })
      await node.truncate(SIZE + BLOCK, { zero })
      expect(await shownIn(node, 0, BLOCK + 512)).toEqual([9])
      expect(await shownIn(node, BLOCK + 512, SIZE - 512)).toEqual([0])
      await node.close()
    }
  })

  it('says whose it is', async () => {
    const base = await makeBase()
    const below = await open(base, { readOnly: true })
    const { uuid } = parentFacts((await below.info()).formatSpecific)!
    await below.close()
    const node = await open(await makeOver(base), {}, hostOf({ 'base.vhd': base }))
    expect(await node.info()).toMatchObject({
      backingFilename: 'base.vhd',
      backingFormat: 'vpc',
      clusterSize: BLOCK,
      formatSpecific: { type: 'vpc', data: { subformat: 'differencing', 'parent-uuid': uuid } },
    })
  })
})

describe('the parent', () => {
  it('is refused by name if it is another image, or was made later', async () => {
    const base = await makeBase()
    const file = await makeOver(base)
    const other = await makeBase()
    const host = hostOf({ 'base.vhd': other })
    await expect(open(file, {}, host)).rejects.toThrow(
      /is not the parent of this image: its UUID is [-0-9a-f]{36}, and/,
    )
    await expect(open(file, { backing: await open(other, { readOnly: true }) })).rejects.toThrow(
      'is not the parent',
    )
    // The same identity, but ten years younger.
    for (const at of [0, base.size - 512]) {
      await poke(base, at + 24, [0x40])
      await seal(base, at, 512)
    }
    await expect(open(file, {}, hostOf({ 'base.vhd': base }))).rejects.toThrow('was made anew')
    // Programs that note no time, or that of the last change, are right.
    for (const time of [
      [0, 0, 0, 0],
      [0x50, 0, 0, 0],
    ]) {
      await poke(file, 512 + 56, time)
      await seal(file, 512, 1024)
      const node = await open(file, {}, hostOf({ 'base.vhd': base }))
      expect(await shownIn(node, 0, SIZE)).toEqual([9])
      await node.close()
    }
  })

  it('is looked for by each name in turn, until there is a file', async () => {
    const base = await makeBase()
    const file = await makeOver(base, 'far/base.vhd')
    const tried: string[] = []
    const node = await open(file, { readOnly: true }, hostOf({ 'base.vhd': base }, tried))
    expect(tried).toEqual(['far/base.vhd', 'base.vhd'])
    await node.close()
    await expect(open(file, {}, hostOf({}))).rejects.toThrow('Could not open backing file: no far/base.vhd')
    // A file that is there, and is no VHD, is not passed over.
    const broken = openMemory(filled(1, 4096))
    await expect(open(file, {}, hostOf({ 'far/base.vhd': broken, 'base.vhd': base }))).rejects.toThrow(
      'invalid VPC image',
    )
    await expect(open(file)).rejects.toMatchObject({ code: 'EACCES' })
  })

  it('has to be named, or given', async () => {
    const file = await createImage({ size: SIZE, subformat: 'differencing', block_size: BLOCK })
    await expect(open(file)).rejects.toThrow('does not name its parent')
    const node = await open(file, { backing: openMemory(filled(5, SIZE - 512)) })
    expect([await shownIn(node, 0, SIZE - 512), await shownIn(node, SIZE - 512, 512)]).toEqual([[5], [0]])
  })

  it('is not given to an image of another kind', async () => {
    const file = await createImage({ size: SIZE, force_size: true })
    await expect(open(file, { backing: openMemory(filled(5, SIZE)) })).rejects.toMatchObject({
      code: 'EINVAL',
    })
  })

  it('is read by its new owner after the image became writable', async () => {
    const base = await makeBase()
    const node = await open(await makeOver(base), { readOnly: true }, hostOf({ 'base.vhd': base }))
    await reopenNode(node, { readOnly: false })
    await node.write(512, filled(1, 512))
    expect(await sectorsOf(node, 0, 1536)).toEqual([9, 1, 9])
    await reopenNode(node, { readOnly: true })
    expect(await sectorsOf(node, 0, 1536)).toEqual([9, 1, 9])
  })
})

describe('creating', () => {
  const make = (options: Readonly<Record<string, unknown>>) => createImage({ size: SIZE, ...options })

  it.each([
    [{ size: undefined }, 'Image creation needs a size parameter'],
    [{ subformat: 'x' }, "Parameter 'subformat' does not accept value 'x'"],
    [{ subformat: 'fixed', backing_file: 'a' }, 'A fixed VHD has no parent'],
    [{ backing_file: 'a', backing_fmt: 'qcow2' }, "backing_fmt must be 'vpc'"],
    [{ backing_file: 'nbd://x' }, 'names its parent by a path'],
    [{ block_size: 1000 }, 'The block size must be a power of two'],
    [{ size: 2 ** 41 }, 'Disk size is too large'],
  ])('refuses %j', async (options, message) => {
    await expect(make(options)).rejects.toThrow(message)
  })

  it('refuses a parent that is no VHD', async () => {
    const describeBacking = async () => ({ driver: 'raw', info: {} })
    const file = openMemory(new Uint8Array(0))
    await expect(
      formatImage(vpc, file, { size: SIZE, backingFile: 'a' }, undefined, { describeBacking }),
    ).rejects.toThrow("not an image in the format 'raw'")
  })

  it('takes size and identity from an open parent', async () => {
    const base = await open(await makeBase(), { readOnly: true })
    const file = openMemory(new Uint8Array(0))
    const environment = { registry: new DriverRegistry([memory, vpc]), host: denyHost }
    await createFile(environment, { driver: vpc, file, backing: base, backingFile: 'base.vhd' })
    const node = await openNode(environment, { driver: 'vpc', file, backing: base })
    const { data } = (await node.info()).formatSpecific!
    expect([node.size, data['parent-uuid']]).toEqual([
      SIZE,
      parentFacts((await base.info()).formatSpecific)!.uuid,
    ])
    expect(await shownIn(node, 0, SIZE)).toEqual([9])
  })
})
