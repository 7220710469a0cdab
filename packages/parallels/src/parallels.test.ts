/** Parallels images: what their headers may say, what is in the file, and where this differs from QEMU on purpose. */
import {
  blkdebug,
  DriverRegistry,
  denyHost,
  formatImage,
  memory,
  openNode,
  type RawOptions,
  reopenNode,
} from '@vmblock/block-core'
import { describe, expect, it } from 'vitest'
import { parallels } from './driver.ts'
import {
  BAT,
  createImage,
  emptyDisk,
  FIELD,
  filled,
  IN_USE,
  open,
  peek,
  poke,
  sample,
} from './testing/images.ts'

const MIB = 2 ** 20
const KIB = 1024
const CLUSTER = 4096
const SMALL = { size: 64 * KIB, cluster_size: CLUSTER }
const LITTLE = { 'prealloc-size': 0 }

describe('a new image', () => {
  it('has the fields that QEMU writes, and a BAT that ends with a cluster', async () => {
    const file = await emptyDisk()
    await formatImage(parallels, file, { size: 5 * MIB + 1 })
    expect(file.size).toBe(MIB)
    const magic = new Uint8Array(16)
    await file.read(0, magic)
    expect(String.fromCharCode(...magic)).toBe('WithouFreSpacExt')
    expect(await peek(file, 16, 12)).toEqual([2, 16, 20, 2048, 6, 10241, 0, 0, 2048, 0, 0, 0])
    expect(await peek(file, BAT, 6)).toEqual([0, 0, 0, 0, 0, 0])
  })

  it('has clusters of any number of sectors, and may be empty', async () => {
    const file = await emptyDisk()
    await formatImage(parallels, file, { size: 0, clusterSize: 1000 })
    expect(await peek(file, FIELD.tracks, 1)).toEqual([2])
    const { node } = await open(file)
    expect(node.size).toBe(0)
    await node.close()
  })

  it.each([
    [{ size: 1, cluster_size: 2 ** 31 }, 'Cluster size is too large'],
    // QEMU makes these, and does not open them.
    [{ size: 1, cluster_size: 2 ** 31 - 512 }, 'Cluster size is too large'],
    [{ size: 1, cluster_size: 0 }, 'Image size is too large for this cluster size'],
    [{ size: 2 ** 46, cluster_size: 512 }, 'Image size is too large for this cluster size'],
    [{}, 'Image creation needs a size parameter'],
  ])('is refused: %o', async (options, message) => {
    await expect(formatImage(parallels, await emptyDisk(), options as RawOptions)).rejects.toThrow(message)
  })
})

describe('a header', () => {
  it.each<[string, [number, number][], string]>([
    ['another magic', [[0, 1]], 'Image not in Parallels format'],
    ['version 3', [[16, 3]], 'Image not in Parallels format'],
    ['no sectors', [[FIELD.tracks, 0]], 'Invalid image: Zero sectors per track'],
    ['large clusters', [[FIELD.tracks, 4186128]], 'Invalid image: Too big cluster'],
    ['many entries', [[FIELD.entries, 2 ** 26 + 1]], 'Catalog too large'],
    ['a long BAT', [[FIELD.entries, 2 ** 20]], 'the BAT ends at 4194368, behind the end of the file at 4096'],
    ['a huge disk', [[FIELD.sectors + 4, 0x10_0000]], "Can't get image size '"],
    ['a negative size', [[FIELD.sectors + 4, 0xffff_ffff]], 'File too large'],
    ['many clusters', [[FIELD.sectors + 4, 0x100]], 'clusters, the most is 67108864'],
  ])('with %s is refused', async (_, fields, message) => {
    const file = await createImage(SMALL)
    for (const [offset, value] of fields) await poke(file, offset, value)
    await expect(open(file, { readOnly: true })).rejects.toThrow(message)
  })

  it('may be cut off', async () => {
    await expect(open(await emptyDisk())).rejects.toThrow('Image not in Parallels format')
  })

  it.each<[string, [number, number][], string]>([
    [
      'two clusters in one place',
      [
        [BAT, 1],
        [BAT + 8, 1],
      ],
      'blocks 0 and 2 overlap at 4096',
    ],
    [
      'a cluster in the BAT',
      [
        [FIELD.dataStart, 16],
        [BAT, 1],
      ],
      'lies at 4096, in front of the data, which begins at 8192',
    ],
    [
      'fewer entries than clusters',
      [[FIELD.entries, 3]],
      'the BAT has 3 entries for the 16 clusters of the disk',
    ],
  ])('over a BAT with %s can be read, but not written', async (_, fields, message) => {
    const file = await createImage(SMALL)
    await file.write(CLUSTER, filled(5, CLUSTER))
    for (const [offset, value] of fields) await poke(file, offset, value)
    await expect(open(file)).rejects.toThrow(message)
    const { node } = await open(file, { readOnly: true })
    await node.read(0, new Uint8Array(node.size))
    await expect(reopenNode(node, { readOnly: false })).rejects.toThrow(message)
    await node.close()
    expect(await peek(file, FIELD.inUse, 1)).toEqual([0])
  })

  it('is recognized by magic and version', () => {
    const head = new Uint8Array(512)
    for (const magic of ['WithoutFreeSpace', 'WithouFreSpacExt']) {
      head.set(new TextEncoder().encode(magic))
      expect(parallels.probe!(head, '')).toBe(head[16] === 2 ? 100 : 0)
      head[16] = 2
      expect(parallels.probe!(head, '')).toBe(100)
      expect(parallels.probe!(head.subarray(0, 63), '')).toBe(0)
    }
  })
})

describe('a description of a disk', () => {
  const text = (images: string): string =>
    `<?xml version='1.0' encoding='UTF-8'?>\n<Parallels_disk_image Version="1.0">${images}</Parallels_disk_image>\n`
  it.each([
    [
      '<Image><Type>Compressed</Type><File>a.hds</File></Image><Image><Type>Plain</Type><File>b\u001b.hds</File></Image>',
      "open 'a.hds' or 'b?.hds' (in format raw) instead",
    ],
    ['', 'open its .hds file instead'],
  ])('is refused, and names its images: %s', async (images, hint) => {
    const file = await emptyDisk()
    const bytes = new TextEncoder().encode(text(images))
    await file.write(0, bytes)
    expect(parallels.probe!(bytes, 'DiskDescriptor.xml')).toBe(100)
    await expect(open(file, { readOnly: true })).rejects.toMatchObject({
      code: 'ENOTSUP',
      message: expect.stringContaining(`describes a Parallels disk, and holds no data: ${hint}`) as string,
    })
  })
})

describe('a writable image', () => {
  it('is marked as in use before anything else is written, and not after it is closed', async () => {
    const file = await createImage(SMALL)
    const { node, log } = await open(file, LITTLE)
    expect(log.entries).toEqual([])
    await node.write(5 * CLUSTER, filled(1, 100))
    expect(log.entries.slice(0, 2)).toMatchObject([{ kind: 'write', offset: FIELD.inUse }, { kind: 'flush' }])
    expect(await peek(file, FIELD.inUse, 1)).toEqual([IN_USE])
    await node.close()
    const marks = log.entries.filter((entry) => entry.kind === 'write' && entry.offset === FIELD.inUse)
    expect(marks).toHaveLength(2)
    expect(log.entries.slice(-5)).toMatchObject([
      { kind: 'flush' },
      { kind: 'truncate' },
      { kind: 'flush' },
      { kind: 'write', offset: FIELD.inUse },
      { kind: 'flush' },
    ])
    expect(await peek(file, FIELD.inUse, 1)).toEqual([0])
    expect(await peek(file, BAT + 20, 1)).toEqual([1])
    expect(file.size).toBe(2 * CLUSTER)
  })

  it('stays as it is if nothing is written', async () => {
    const file = await createImage(SMALL)
    const { node, log } = await open(file)
    await node.flush()
    await node.close()
    expect(log.entries.filter(({ kind }) => kind !== 'flush')).toEqual([])
  })

  it('grows by prealloc-size, and is cut off when it is closed or becomes read-only', async () => {
    for (const [more, longest] of [
      [{}, 128 * MIB],
      [{ 'prealloc-size': '64k', 'prealloc-mode': 'truncate' }, 64 * KIB],
      [LITTLE, CLUSTER],
    ] as const) {
      const file = await createImage(SMALL)
      const { node } = await open(file, more)
      await node.write(0, filled(1, 10))
      expect(file.size).toBe(2 * CLUSTER + longest)
      await reopenNode(node, { readOnly: true })
      expect(file.size).toBe(2 * CLUSTER)
      expect(await peek(file, FIELD.inUse, 1)).toEqual([0])
      await node.close()
    }
    await expect(open(await createImage(SMALL), { 'prealloc-mode': 'full' })).rejects.toThrow()
  })

  it('that was not closed is repaired before the first write, or refused', async () => {
    const file = await createImage(SMALL)
    const { node } = await open(file)
    await node.write(0, filled(1, CLUSTER))
    await node.flush()
    await node.crash()
    expect(file.size).toBeGreaterThan(128 * MIB)
    const reader = await open(file, { readOnly: true })
    expect((await reader.node.info()).dirty).toBe(true)
    await reader.node.close()
    const again = await open(file, LITTLE)
    expect(file.size).toBe(2 * CLUSTER)
    expect((await again.node.info()).dirty).toBe(false)
    expect((await sample(again.node, CLUSTER)).slice(0, 2)).toEqual([1, 0])
    await again.node.close()
    await poke(file, FIELD.inUse, IN_USE)
    await poke(file, BAT + 4, 1)
    await expect(open(file)).rejects.toMatchObject({
      code: 'EACCES',
      message: 'parallels: Image was not closed correctly; cannot be opened read/write',
    })
  })

  it('shows a backing file that is given when it is opened', async () => {
    const registry = new DriverRegistry([memory])
    const backing = await openNode({ registry, host: denyHost }, { driver: 'memory', size: 40 * KIB })
    await backing.write(0, filled(7, 40 * KIB))
    const { node } = await open(await createImage(SMALL), { ...LITTLE, backing })
    await node.write(CLUSTER + 10, filled(1, 10))
    await node.writeZeroes(3 * CLUSTER, CLUSTER)
    expect(await node.blockStatus(0, 64 * KIB)).toMatchObject({ bytes: CLUSTER, allocated: false })
    const bytes = new Uint8Array(64 * KIB)
    await node.read(0, bytes)
    const expected = filled(7, 64 * KIB).fill(0, 40 * KIB)
    expected.fill(1, CLUSTER + 10, CLUSTER + 20).fill(0, 3 * CLUSTER, 4 * CLUSTER)
    expect(Buffer.compare(bytes, expected)).toBe(0)
    await node.close()
  })
})

it('a cluster beyond 2^53 is neither read nor written', async () => {
  const file = await createImage(SMALL)
  await poke(file, FIELD.tracks, 2 ** 21)
  await poke(file, BAT, 2 ** 24)
  await expect(open(file)).rejects.toThrow('cluster 0 is outside image')
  const { node } = await open(file, { readOnly: true })
  await expect(node.read(0, new Uint8Array(512))).rejects.toMatchObject({ code: 'EIO' })
  await node.close()
})

it('a file that was cut off can be written, also where its clusters were', async () => {
  const file = await createImage(SMALL)
  const { node } = await open(file, LITTLE)
  await node.write(0, filled(1, 4 * CLUSTER))
  await node.close()
  await file.truncate(3 * CLUSTER)
  const again = await open(file, LITTLE)
  expect((await sample(again.node, CLUSTER)).slice(0, 5)).toEqual([1, 1, 0, 0, 0])
  await again.node.write(9 * CLUSTER, filled(9, CLUSTER))
  await again.node.write(3 * CLUSTER, filled(3, 100))
  await again.node.close()
  const last = await open(file, { readOnly: true })
  expect(await sample(last.node, CLUSTER)).toEqual([1, 1, 0, 3, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0])
  expect(await last.node.check()).toMatchObject({ corruptions: 0, leaks: 0 })
  await last.node.close()
})

describe('otherwise than in QEMU', () => {
  it('data is durable before its entry is written', async () => {
    const { node, log } = await open(await createImage(SMALL), LITTLE)
    await node.write(0, filled(1, CLUSTER))
    const before = log.entries.length
    await node.flush()
    expect(log.entries.slice(before)).toMatchObject([
      { kind: 'flush' },
      { kind: 'write', offset: BAT },
      { kind: 'flush' },
    ])
    await node.close()
  })

  it('what a crash left behind the data does not shine through a new cluster', async () => {
    const file = await createImage(SMALL)
    await file.write(CLUSTER, filled(0xee, 3 * CLUSTER))
    const { node } = await open(file, LITTLE)
    await node.write(100, filled(1, 10))
    const bytes = new Uint8Array(CLUSTER)
    await node.read(0, bytes)
    expect(bytes.filter((byte) => byte !== 0)).toEqual(filled(1, 10))
    await node.close()
  })

  it('a cluster that could not be written is not allocated, and its place is used again', async () => {
    const file = await createImage(SMALL)
    const injectError = [
      { event: 'none', iotype: 'write', errno: 5, sector: CLUSTER / 512, once: true },
    ] as const
    const broken = await openNode(
      { registry: new DriverRegistry([blkdebug]), host: denyHost },
      { driver: 'blkdebug', image: file, injectError },
    )
    const { node } = await open(broken, LITTLE)
    await expect(node.write(0, filled(9, CLUSTER))).rejects.toMatchObject({ code: 'EIO' })
    await node.write(5 * CLUSTER + 5, filled(2, 10))
    const shown = new Uint8Array(CLUSTER)
    await node.read(5 * CLUSTER, shown)
    expect(shown.filter((byte) => byte !== 0)).toEqual(filled(2, 10))
    await node.close()
    expect(await peek(file, BAT, 6)).toEqual([0, 0, 0, 0, 0, 1])
  })

  it('a disk that is larger than its BAT ends with zeroes', async () => {
    const file = await createImage(SMALL)
    await poke(file, FIELD.entries, 2)
    const { node } = await open(file, { readOnly: true })
    expect(await sample(node, CLUSTER)).toEqual(Array<number>(16).fill(0))
    expect(await node.blockStatus(0, 64 * KIB)).toMatchObject({ bytes: 64 * KIB, zero: true })
    await node.close()
  })
})
