/** VDI images: what their headers may say, what is in the file, and where this differs from QEMU on purpose. */
import { blkdebug, DriverRegistry, denyHost, formatImage, openNode, reopenNode } from '@vmblock/block-core'
import { describe, expect, it } from 'vitest'
import { vdi } from './driver.ts'
import { createImage, emptyDisk, filled, open, peek, poke, sample } from './testing/images.ts'

const MIB = 2 ** 20
const BLOCK = 4096
const COUNT = 0x184
const NEVER = 0xffff_ffff

describe('a new image', () => {
  it('has the fields that QEMU writes, and nothing behind the map', async () => {
    const file = await emptyDisk()
    await formatImage(vdi, file, { size: 5 * MIB + 1 })
    expect(file.size).toBe(1024)
    expect(await peek(file, 0x40, 5)).toEqual([0xbeda107f, 0x10001, 0x180, 1, 0])
    expect(await peek(file, 0x154, 13)).toEqual([512, 1024, 0, 0, 0, 512, 0, 5 * MIB + 512, 0, MIB, 0, 6, 0])
    expect(await peek(file, 512, 8)).toEqual([...Array<number>(6).fill(NEVER), 0, 0])
    expect(await peek(file, 0x1a8, 8)).toEqual(Array<number>(8).fill(0))
    const ids = new Uint8Array(32)
    await file.read(0x188, ids)
    for (const at of [0, 16]) expect([ids[at + 7]! >> 4, ids[at + 8]! >> 6]).toEqual([4, 2])
    expect(ids.slice(0, 16)).not.toEqual(ids.slice(16))
  })

  it('is allocated with static=on', async () => {
    const file = await emptyDisk()
    await formatImage(vdi, file, { size: 3 * MIB, static: true })
    expect(file.size).toBe(1024 + 3 * MIB)
    expect(await peek(file, 0x4c, 1)).toEqual([2])
    expect(await peek(file, COUNT, 1)).toEqual([3])
    expect(await peek(file, 512, 4)).toEqual([0, 1, 2, 0])
    const { node } = await open(file)
    await node.write(MIB - 1, filled(7, 2))
    await node.close()
    expect(file.size).toBe(1024 + 3 * MIB)
    expect(await peek(file, 512, 3)).toEqual([0, 1, 2])
  })

  it('may be empty, and is refused without a size, or if it is too large', async () => {
    const file = await emptyDisk()
    await formatImage(vdi, file, { size: 0 })
    expect(file.size).toBe(512)
    const { node } = await open(file)
    expect(node.size).toBe(0)
    await node.close()
    const other = await emptyDisk()
    await expect(formatImage(vdi, other, {})).rejects.toThrow('Image creation needs a size parameter')
    await expect(formatImage(vdi, other, { size: 2 ** 46 + 1 })).rejects.toThrow(
      'Unsupported VDI image size (size is 0x400000000200, max supported is 0x400000000000)',
    )
  })
})

describe('a header', () => {
  it.each<[string, [number, number][], string]>([
    ['no signature', [[0x40, 1]], 'Image not in VDI format (bad signature 00000001)'],
    ['version 0.1', [[0x44, 1]], 'unsupported VDI image (version 0.1)'],
    [
      'a huge disk',
      [
        [0x170, 0xf800_0001],
        [0x174, 0x1ffff],
      ],
      'Unsupported VDI image size (size is 0x1fffff8000001, max supported is 0x1fffff8000000)',
    ],
    [
      'a size that looks negative',
      [[0x174, 0xffff_ffff]],
      'Unsupported VDI image size (size is 0xffffffff00010000,',
    ],
    ['the map at 513', [[0x154, 513]], 'unsupported VDI image (unaligned block map offset 0x201)'],
    ['data at 1023', [[0x158, 1023]], 'unsupported VDI image (unaligned data offset 0x3ff)'],
    ['data in the header', [[0x158, 0]], 'unsupported VDI image (data offset 0x0 inside the header)'],
    ['large sectors', [[0x168, 4096]], 'unsupported VDI image (sector size 4096 is not 512)'],
    ['blocks of 3000', [[0x178, 3000]], 'block size 3000 is no power of two from 512 to 67108864'],
    ['blocks of nothing', [[0x178, 0]], 'block size 0 is no power of two'],
    ['large blocks', [[0x178, 2 ** 27]], 'block size 134217728 is no power of two'],
    ['few blocks', [[0x180, 15]], 'unsupported VDI image (disk size 65536, image bitmap has room for 61440)'],
    ['a link', [[0x1a8, 1]], 'unsupported VDI image (non-NULL link UUID)'],
    ['a parent', [[0x1c4, 1]], 'unsupported VDI image (non-NULL parent UUID)'],
    [
      'many blocks',
      [[0x180, 2 ** 26 + 1]],
      'unsupported VDI image (too many blocks 67108865, max is 67108864)',
    ],
    ['type 3', [[0x4c, 3]], 'unsupported VDI image (undo image)'],
    ['type 4', [[0x4c, 4]], 'unsupported VDI image (differencing image)'],
    ['type 9', [[0x4c, 9]], 'unsupported VDI image (image type 9)'],
    ['extra bytes', [[0x17c, 512]], 'unsupported VDI image (512 extra bytes in front of each block)'],
    ['a long map', [[0x180, 2 ** 26]], 'the block map ends at 268435968, behind the end of the file at 1024'],
    [
      'a map behind the file',
      [[0x154, 2 ** 31]],
      'the block map ends at 2147483712, behind the end of the file',
    ],
  ])('with %s is refused', async (_, fields, message) => {
    const file = await createImage({ size: 64 * 1024 })
    for (const [offset, value] of fields) await poke(file, offset, value)
    await expect(open(file, { readOnly: true })).rejects.toThrow(message)
  })

  it('may be cut off', async () => {
    const file = await emptyDisk()
    await expect(open(file)).rejects.toThrow('Image not in VDI format (bad signature 00000000)')
  })

  it.each<[string, [number, number][], string]>([
    [
      'two blocks in one place',
      [
        [512, 3],
        [520, 3],
      ],
      'blocks 0 and 2 share the place 3',
    ],
    ['a place outside the disk', [[516, 16]], 'block index 1 too large, is 16'],
    [
      'the map behind the data',
      [
        [0x158, 512],
        [0x154, 512],
      ],
      'the block map from 512 to 576 is not between',
    ],
  ])('over a map with %s can be read, but not written', async (_, fields, message) => {
    const file = await createImage({ size: 64 * 1024 })
    for (const [offset, value] of fields) await poke(file, offset, value)
    await expect(open(file)).rejects.toThrow(message)
    const { node } = await open(file, { readOnly: true })
    await node.read(0, new Uint8Array(node.size))
    await expect(reopenNode(node, { readOnly: false })).rejects.toThrow(message)
    await node.close()
  })

  it('is recognized, and by its signature alone', () => {
    const head = new Uint8Array(512)
    expect(vdi.probe!(head, '')).toBe(0)
    head.set([0x7f, 0x10, 0xda, 0xbe], 0x40)
    expect(vdi.probe!(head, '')).toBe(100)
    expect(vdi.probe!(head.subarray(0, 511), '')).toBe(0)
  })
})

describe('an image of VirtualBox', () => {
  it('has its map and its blocks at 1 MiB, and any power of two as block size', async () => {
    for (const block_size of [512, 65536, 4 * MIB]) {
      const size = 4 * block_size
      const file = await createImage({ size, block_size, map_offset: MIB, data_offset: 2 * MIB })
      await poke(file, 0x48, 0x190)
      const { node } = await open(file)
      await node.write(block_size, filled(5, block_size / 2))
      expect(await node.blockStatus(block_size, block_size)).toMatchObject({
        bytes: block_size,
        data: true,
        host: { offset: 2 * MIB },
      })
      expect((await node.info()).clusterSize).toBe(block_size)
      await node.close()
      expect(await peek(file, MIB, 4)).toEqual([NEVER, 0, NEVER, NEVER])
      expect(file.size).toBe(2 * MIB + block_size)
    }
  })

  it('may have a size that is no multiple of a sector', async () => {
    const file = await createImage({ size: 10_000 })
    const { node } = await open(file)
    expect(node.size).toBe(10_240)
    await node.close()
  })

  it('may have discarded blocks, which read as zeroes and can be written', async () => {
    const file = await createImage({ size: 64 * 1024 })
    await poke(file, 512 + 4, 0xffff_fffe)
    const { node } = await open(file)
    expect(await node.blockStatus(BLOCK, BLOCK)).toMatchObject({ zero: true, data: false })
    await node.write(BLOCK + 10, filled(3, 10))
    const bytes = new Uint8Array(BLOCK)
    await node.read(BLOCK, bytes)
    expect([bytes[9], bytes[10], bytes[19], bytes[20]]).toEqual([0, 3, 3, 0])
    await node.close()
    expect(await peek(file, 512, 2)).toEqual([NEVER, 0])
  })
})

describe('otherwise than in QEMU', () => {
  it('a count that a crash left too small does not make two blocks share a place', async () => {
    const file = await createImage({ size: 64 * 1024 })
    await poke(file, 512, 0)
    await file.write(1024, filled(9, BLOCK))
    const { node } = await open(file)
    await node.write(BLOCK, filled(1, BLOCK))
    await node.close()
    expect(await peek(file, 512, 2)).toEqual([0, 1])
    expect(await peek(file, COUNT, 1)).toEqual([2])
    const again = await open(file)
    expect((await sample(again.node, BLOCK)).slice(0, 3)).toEqual([9, 1, 0])
    await again.node.close()
  })

  it('the data and the count are durable before an entry is written', async () => {
    const file = await createImage({ size: 64 * 1024 })
    const { node, log } = await open(file)
    await node.write(0, filled(1, 2 * BLOCK))
    await node.flush()
    const steps = log.entries.map((entry) =>
      entry.kind === 'write'
        ? entry.offset < 512
          ? 'count'
          : entry.offset < 1024
            ? 'entry'
            : 'data'
        : entry.kind,
    )
    expect(steps.filter((step, index) => step !== steps[index - 1] && step !== 'truncate')).toEqual([
      'data',
      'data',
      'count',
      'flush',
      'entry',
      'flush',
    ])
    await node.close()
  })

  it('a block that could not be written is not allocated', async () => {
    const file = await createImage({ size: 64 * 1024 })
    const broken = await openNode(
      { registry: new DriverRegistry([blkdebug]), host: denyHost },
      {
        driver: 'blkdebug',
        image: file,
        injectError: [{ event: 'none', iotype: 'write', errno: 5, sector: 2, once: true }],
      },
    )
    const { node } = await open(broken)
    await expect(node.write(5 * BLOCK, filled(1, BLOCK))).rejects.toMatchObject({ code: 'EIO' })
    expect(await node.blockStatus(5 * BLOCK, BLOCK)).toMatchObject({ data: false, zero: true })
    await node.write(7 * BLOCK, filled(2, BLOCK))
    await node.close()
    expect(await peek(file, 512 + 5 * 4, 3)).toEqual([NEVER, NEVER, 0])
    expect(await peek(file, COUNT, 1)).toEqual([1])
  })

  it('what a crash left behind the blocks does not shine through a new one', async () => {
    const file = await createImage({ size: 64 * 1024 })
    await file.write(1024, filled(0xee, 3 * BLOCK))
    const { node } = await open(file)
    await node.write(2 * BLOCK + 100, filled(1, 10))
    const bytes = new Uint8Array(BLOCK)
    await node.read(2 * BLOCK, bytes)
    expect(bytes.filter((byte) => byte !== 0)).toEqual(filled(1, 10))
    await node.close()
  })

  it('what another program wrote is seen when the image becomes writable', async () => {
    const file = await createImage({ size: 64 * 1024 })
    const { node } = await open(file, { readOnly: true })
    await poke(file, 512, 0)
    await poke(file, COUNT, 1)
    await file.write(1024, filled(4, BLOCK))
    await reopenNode(node, { readOnly: false })
    await node.write(BLOCK, filled(5, BLOCK))
    await reopenNode(node, { readOnly: true })
    expect(await peek(file, 512, 2)).toEqual([0, 1])
    expect((await sample(node, BLOCK)).slice(0, 2)).toEqual([4, 5])
    await node.close()
  })
})
