/** Changes of the size of VDI disks: what is in the file afterwards. */
import { describe, expect, it } from 'vitest'
import { createImage, filled, open, peek, poke, sample } from './testing/images.ts'

const BLOCK = 512
/** A map of 128 entries fills a sector. */
const FULL = 128 * BLOCK
const NEVER = 0xffff_ffff
/** Offset of the map, offset of the data. */
const PLACES = 0x154
/** Size of the disk, its upper half, block size, extra bytes, blocks, allocated ones. */
const SIZES = 0x170

describe('growing', () => {
  it('adds entries to the map while it has room', async () => {
    const file = await createImage({ size: 3 * BLOCK, block_size: BLOCK })
    await poke(file, 512 + 12, 7)
    const { node } = await open(file)
    await node.write(0, filled(1, 3 * BLOCK))
    await node.truncate(FULL)
    expect(node.size).toBe(FULL)
    await node.write(FULL - BLOCK, filled(2, BLOCK))
    await node.close()
    expect(await peek(file, PLACES, 2)).toEqual([512, 1024])
    expect(await peek(file, SIZES, 6)).toEqual([FULL, 0, BLOCK, 0, 128, 4])
    const map = await peek(file, 512, 128)
    expect(map).toEqual([0, 1, 2, ...Array<number>(124).fill(NEVER), 3])
  })

  it('moves the map to where the data was, and the data behind the rest', async () => {
    const file = await createImage({ size: FULL, block_size: BLOCK })
    const { node } = await open(file)
    for (const block of [100, 0, 50, 127]) await node.write(block * BLOCK, filled(block + 1, BLOCK))
    await node.truncate(FULL + BLOCK)
    await node.write(FULL, filled(200, BLOCK))
    const content = await sample(node, BLOCK)
    await node.close()
    expect(await peek(file, PLACES, 2)).toEqual([1024, 1024 + 2 * BLOCK])
    expect(await peek(file, SIZES, 6)).toEqual([FULL + BLOCK, 0, BLOCK, 0, 129, 5])
    const map = await peek(file, 1024, 129)
    expect(map.filter((entry) => entry !== NEVER).sort()).toEqual([0, 1, 2, 3, 4])
    expect([map[50], map[127]]).toEqual([0, 1])
    const expected = Array.from({ length: 129 }, (_, block) =>
      [100, 0, 50, 127].includes(block) ? block + 1 : block === 128 ? 200 : 0,
    )
    expect(content).toEqual(expected)
    const again = await open(file, { readOnly: true })
    expect(await sample(again.node, BLOCK)).toEqual(expected)
    expect(await again.node.check()).toMatchObject({ corruptions: 0, leaks: 0 })
    await again.node.close()
  })

  it('allocates what a fixed image grows by, as zeroes', async () => {
    const file = await createImage({ size: 5 * BLOCK + 512, block_size: 1024, static: true })
    await file.write(file.size, filled(0xee, 3000))
    const { node } = await open(file)
    await node.write(0, filled(1, node.size))
    await node.truncate(8 * 1024)
    expect(await peek(file, SIZES, 6)).toEqual([8 * 1024, 0, 1024, 0, 8, 8])
    expect(await peek(file, 512, 8)).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
    expect((await sample(node, 512)).slice(0, 8)).toEqual([1, 1, 1, 1, 1, 1, 0, 0])
    expect((await sample(node, 512)).slice(6).every((byte) => byte === 0)).toBe(true)
    await node.close()
  })

  it('shows zeroes, whatever another program left behind the end of the disk', async () => {
    const file = await createImage({ size: 3 * 1024, block_size: 1024 })
    const { node } = await open(file)
    await node.write(0, filled(1, 3 * 1024))
    await node.close()
    // The disk ends inside its second block, and the map has a third one.
    await poke(file, SIZES, 1024 + 512)
    const again = await open(file)
    await again.node.truncate(3 * 1024)
    expect(await sample(again.node, 512)).toEqual([1, 1, 1, 0, 0, 0])
    expect(await peek(file, 512, 3)).toEqual([0, 1, NEVER])
    await again.node.close()
  })
})

describe('shrinking', () => {
  it('closes gaps, so that QEMU may write to the image, and cuts off the file', async () => {
    const file = await createImage({ size: 8 * BLOCK, block_size: BLOCK })
    const { node } = await open(file)
    for (const block of [7, 1, 6, 0, 2]) await node.write(block * BLOCK, filled(block + 1, BLOCK))
    await node.truncate(2 * BLOCK)
    expect(await sample(node, BLOCK)).toEqual([1, 2])
    expect(await peek(file, SIZES, 6)).toEqual([2 * BLOCK, 0, BLOCK, 0, 2, 2])
    expect((await peek(file, 512, 2)).sort()).toEqual([0, 1])
    expect(file.size).toBe(1024 + 2 * BLOCK)
    await node.truncate(8 * BLOCK)
    expect(await sample(node, BLOCK)).toEqual([1, 2, 0, 0, 0, 0, 0, 0])
    await node.close()
    const again = await open(file)
    expect(await again.node.check()).toMatchObject({ corruptions: 0, leaks: 0 })
    await again.node.close()
  })
})

it('refuses what it cannot do', async () => {
  const file = await createImage({ size: 8 * BLOCK, block_size: BLOCK })
  const { node } = await open(file)
  await expect(node.truncate(9 * BLOCK, { preallocation: 'falloc' })).rejects.toThrow(
    "Unsupported preallocation mode 'falloc'",
  )
  await expect(node.truncate(1000)).rejects.toThrow('The size of a VDI image is a multiple of 512')
  await expect(node.truncate(2 ** 26 * BLOCK + 512)).rejects.toThrow('Unsupported VDI image size')
  await node.close()
})
