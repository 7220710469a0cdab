/** No cost grows faster than the work: counted, at sizes that are far apart. */
import { type BlockNode, Disk, openNode, type RawOptions } from '@vmblock/block-core'
import { toBytes } from '@vmblock/block-core/testing'
import { describe, expect, test, vi } from 'vitest'
import { References } from '../check/references.ts'
import { refcountAccess } from '../format/refcount-width.ts'
import { RequestEpochs } from '../image/epochs.ts'
import { PendingFrees } from '../image/frees.ts'
import type { Image } from '../image/image.ts'
import { bytesAt, createImage, environment, filled, findings, open, SOUND } from '../testing/images.ts'

/** Counts the reads of a node from now on, and their bytes: those of nodes above it, too, which pass no handle. */
function countReads(node: BlockNode) {
  const read = vi.spyOn(node instanceof Disk ? node.root : node, 'read')
  return {
    get count() {
      return read.mock.calls.length
    },
    get bytes() {
      return read.mock.calls.reduce((total, [, into]) => total + into.byteLength, 0)
    },
    clear: () => read.mockClear(),
  }
}

test('opening takes the same reads at every size, and no bytes more but the L1 table', async () => {
  const costs = async (size: number) => {
    const file = await createImage({ size })
    const reads = countReads(file)
    const node = await open(file)
    const { count, bytes } = reads
    await node.close()
    return { count, bytes: bytes - Math.ceil(size / 2 ** 29) * 8 }
  }
  const small = await costs(2 ** 30)
  expect(small.count).toBe(4)
  expect(await costs(2 ** 40)).toEqual(small)
  expect(await costs(2 ** 43)).toEqual(small)
})

describe('a backing chain', () => {
  /** A chain of images, each with an L2 table; the lowest has the data. */
  async function chainOf(depth: number) {
    let top: BlockNode | undefined
    const files: ReturnType<typeof countReads>[] = []
    const nodes: ReturnType<typeof countReads>[] = []
    for (let layer = 0; layer < depth; layer++) {
      const file = await createImage({ size: 2 ** 26 })
      top = await openNode(environment, { driver: 'qcow2', file, backing: top ?? null })
      await top.write(layer === 0 ? 0 : 2 ** 25 + layer * 65536, filled(layer + 1, 65536))
      files.push(countReads(file))
      nodes.push(countReads(top))
    }
    return { top: top!, files, nodes }
  }

  test.each([1, 5, 50])('of %i layers is asked once a layer', async (depth) => {
    const { top, files, nodes } = await chainOf(depth)
    expect((await bytesAt(top, 4096, 4096))[0]).toBe(1)
    for (const counter of [...files, ...nodes]) counter.clear()
    expect((await bytesAt(top, 8192, 4096))[0]).toBe(1)
    expect(nodes.map(({ count }) => count)).toEqual(Array(depth).fill(1))
    // Only the data is read: no table again, and nothing from the layers above.
    expect(files.map(({ count }) => count)).toEqual([1, ...Array(depth - 1).fill(0)])
    await top.close()
  })

  test('costs the layers above a bounded part of their tables for each answer', async () => {
    const { top, files } = await chainOf(2)
    const over = await createImage({ size: 2 ** 42 })
    // Nearly empty tables, with one entry each, over the whole disk.
    const upper = await openNode(environment, {
      driver: 'qcow2',
      file: over,
      backing: top,
      l2CacheSize: 8192,
    })
    for (let i = 0; i < 64; i++) await upper.write((i + 1) * 2 ** 29 - 65536, filled(1, 512))
    await upper.flush()
    const reads = countReads(over)
    for (let i = 0; i < 20; i++) {
      const { bytes, allocated } = await upper.blockStatus(i * 65536, 2 ** 42 - i * 65536)
      expect([bytes > 2 ** 20, allocated]).toEqual([true, false])
    }
    expect(reads.count).toBeLessThanOrEqual(20 * 6)
    expect(files[0]!.count).toBe(0)
    await upper.close()
  })
})

describe('an image full of small holes', () => {
  /** One cluster in three is free. */
  async function perforated(clusters: number): Promise<BlockNode> {
    const file = await createImage({ size: clusters * 2 * 512, cluster_size: 512 })
    const node = await open(file)
    await node.write(0, filled(1, clusters * 512))
    for (let i = 0; i < clusters; i += 3) await node.discard(i * 512, 512)
    await node.close()
    return file
  }

  test.each([4000, 16_000])('of %i clusters is searched once, not for every write', async (clusters) => {
    const file = await perforated(clusters)
    const node = await open(file, { refcountCacheSize: 2048 })
    const reads = countReads(file)
    const writes = 40
    for (let i = 0; i < writes; i++) {
      // A cluster near the start is freed, which makes two in a row; but three are needed.
      await node.discard((3 * i + 1) * 512, 512)
      await node.flush()
      await node.write((clusters + i * 3) * 512, filled(2, 3 * 512))
    }
    const slices = clusters / 256
    expect(reads.bytes / 512).toBeLessThan(slices + writes * 8)
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })
})

describe('a check', () => {
  test.each([64, 256])('reads each of %i tables once, neighbours at once', async (tables) => {
    const size = tables * 64 * 512
    const file = await createImage({ size, cluster_size: 512, preallocation: 'metadata' })
    const reads = countReads(file)
    const found = await findings(file)
    expect(found).toMatchObject({ ...SOUND, allocatedClusters: tables * 64 })
    // Header and tables at open; then L1, every L2 table, and the refcount blocks, which are adjacent.
    expect(reads.count).toBeLessThanOrEqual(4 + 1 + tables + 1)
  })

  test('finds the same in tables that are read ahead', async () => {
    const file = await createImage({ size: 2 ** 20, cluster_size: 512, preallocation: 'metadata' })
    const bytes = await toBytes(file)
    const before = await findings(file)
    // An entry of a table in the middle loses COPIED, another one points at the cluster before.
    const view = new DataView(bytes.buffer)
    const l1 = Number(view.getBigUint64(40))
    const table = Number(view.getBigUint64(l1 + 5 * 8) & 0x00ff_ffff_ffff_fe00n)
    view.setUint8(table, 0)
    view.setBigUint64(table + 80, view.getBigUint64(table + 72))
    await file.write(0, bytes)
    const after = await findings(file)
    expect(before.lines).toEqual([])
    expect(after.lines.map((line) => line.replace(/ .*/, ''))).toEqual(['ERROR', 'Leaked', 'ERROR'])
    const node = await open(file, { checkMode: true })
    await node.check({ repair: 'all' })
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })
})

test('a rebuild of a full image looks at each cluster once to allocate its blocks', () => {
  const looks = (blocks: number): number => {
    const refcounts = refcountAccess(4)
    const get = vi.fn((bytes: Uint8Array, index: number) => refcounts.get(bytes, index))
    const image = {
      geometry: { clusterSize: 512, refcountBits: 16, refblockEntries: 256 },
      file: { size: 0 },
      refcounts: { ...refcounts, get },
    } as unknown as Image
    const references = new References(image, Number.MAX_SAFE_INTEGER)
    for (let cluster = 0; cluster < blocks * 256; cluster++) references.set(cluster, 1)
    get.mockClear()
    const clusters = Array.from({ length: blocks }, (_, i) => references.allocate(1, i * 256))
    expect(new Set(clusters).size).toBe(blocks)
    expect(Math.min(...clusters)).toBe(blocks * 256)
    return get.mock.calls.length
  }
  expect(looks(10)).toBeLessThan(10 * 258)
  expect(looks(100)).toBeLessThan(100 * 258)
})

test('frees of a million runs are handed on', () => {
  const frees = new PendingFrees(new RequestEpochs())
  const runs = 1_000_000
  for (let i = 0; i < runs; i++) frees.add(i * 1024, 512, 'other')
  frees.becameDurable(frees.take())
  expect(frees.takeDue()).toHaveLength(runs)
  expect(frees.isEmpty).toBe(true)
})

describe('the caches', () => {
  /** Bytes of tables that are read when the status of the whole disk is queried a second time. */
  async function readTwice(options: RawOptions): Promise<number> {
    const file = await createImage({ size: 2 ** 22, cluster_size: 512, preallocation: 'metadata' })
    const node = await open(file, { readOnly: true, ...options })
    const map = async (): Promise<void> => {
      for (let at = 0; at < node.size; ) at += (await node.blockStatus(at, node.size - at)).bytes
    }
    await map()
    const reads = countReads(file)
    await map()
    await node.close()
    return reads.bytes
  }

  test('hold all tables of an image that is not too large, or what they are given', async () => {
    // 8192 clusters have 64 KiB of entries.
    expect(await readTwice({})).toBe(0)
    expect(await readTwice({ l2CacheSize: 65536 })).toBe(0)
    expect(await readTwice({ l2CacheSize: 32768 })).toBe(65536)
    expect(await readTwice({ cacheSize: 65536 + 2048 })).toBe(0)
    expect(await readTwice({ cacheSize: 65536 })).toBeGreaterThan(0)
  })
})
