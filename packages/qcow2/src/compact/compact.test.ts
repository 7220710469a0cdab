/** Compacting: the file gets as short as what it holds, the content stays, and no more is written than was moved. */
import type { BlockNode, RawOptions } from '@vmblock/block-core'
import { viewOf } from '@vmblock/block-core/driver'
import { createRandom, toBytes } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import {
  bytesAt,
  createImage,
  emptyDisk,
  filled,
  findings,
  open,
  openLogged,
  pattern,
  poke,
  SOUND,
  sameBytes,
} from '../testing/images.ts'
import { headerIn } from '../testing/plain-header.ts'
import { ReferenceMap } from './reference-map.ts'

const CLUSTER = 4096
const SIZE = 256 * CLUSTER

/** An image that was filled in random order, and then lost parts of its data. */
async function holed(options: RawOptions, seed = 1, keeps = 0.4): Promise<BlockNode> {
  const random = createRandom(seed)
  const file = await createImage({ size: SIZE, cluster_size: CLUSTER, ...options })
  const node = await open(file)
  const { discardAlignment: unit } = node.limits
  const order = Array.from({ length: SIZE / unit }, (_, i) => i)
  for (let i = order.length - 1; i > 0; i--) {
    const j = random.int(0, i + 1)
    ;[order[i], order[j]] = [order[j]!, order[i]!]
  }
  for (const at of order) await node.write(at * unit, pattern(unit, at + 1))
  await node.flush()
  for (const at of order) if (!random.chance(keeps)) await node.discard(at * unit, unit)
  await node.close()
  return file
}

describe('compacting', () => {
  test.each<[string, RawOptions]>([
    ['a plain image', {}],
    ['version 2', { compat: '0.10' }],
    ['lazy refcounts', { lazy_refcounts: 'on' }],
    ['1-bit refcounts', { refcount_bits: 1 }],
    ['64-bit refcounts', { refcount_bits: 64 }],
    ['small clusters', { cluster_size: 512 }],
    ['small clusters and 64-bit refcounts', { cluster_size: 512, refcount_bits: 64 }],
    ['subclusters', { cluster_size: 16384, extended_l2: 'on' }],
  ])('%s', async (_, options) => {
    const file = await holed(options)
    const before = file.size
    const node = await open(file)
    const content = await toBytes(node)
    const report = await node.compact()
    expect(sameBytes(await toBytes(node), content)).toBe(true)
    await node.close()
    const found = await findings(file)
    expect(found).toMatchObject(SOUND)
    expect(report).toMatchObject({ sizeBefore: before, sizeAfter: file.size, leftBytes: 0 })
    expect(file.size).toBeLessThan(before * 0.6)
    expect(found.imageEndOffset).toBe(file.size)
    const again = await open(file)
    expect(sameBytes(await toBytes(again), content)).toBe(true)
    expect(await again.compact()).toMatchObject({ movedBytes: 0, sizeAfter: file.size })
    await again.close()
  })
})

/** A plain image whose last half has to move into its first: `count` clusters of 4 KiB. */
async function halved(count = 128): Promise<BlockNode> {
  const file = await createImage({ size: 2 * count * CLUSTER, cluster_size: CLUSTER })
  const node = await open(file)
  await node.write(0, pattern(2 * count * CLUSTER))
  await node.discard(0, count * CLUSTER)
  await node.flush()
  await node.close()
  return file
}

describe('what is written', () => {
  test('is what was moved, and the sectors of entries and refcounts', async () => {
    const file = await halved()
    const { node, log } = await openLogged(file)
    const report = await node.compact()
    const moved = 128 * CLUSTER
    expect(report.movedBytes).toBe(moved)
    const writes = log.entries.flatMap((entry) => (entry.kind === 'write' ? [entry.bytes] : []))
    const total = writes.reduce((sum, bytes) => sum + bytes, 0)
    // One piece: 128 entries are 2 sectors of the L2 table; 264 refcounts 2 of the block, twice.
    expect(total - moved).toBeLessThanOrEqual((2 + 2 * 2) * 512)
    expect(log.entries.filter(({ kind }) => kind === 'flush').length).toBeLessThanOrEqual(12)
    await node.close()
  })

  test('is nothing, if nothing is free', async () => {
    const file = await createImage({ size: SIZE, cluster_size: CLUSTER })
    const before = await open(file)
    await before.write(0, pattern(SIZE))
    await before.close()
    const { node, log } = await openLogged(file)
    expect(await node.compact()).toMatchObject({ movedBytes: 0, leftBytes: 0, sizeAfter: file.size })
    expect(log.entries.filter(({ kind }) => kind !== 'flush')).toEqual([])
    await node.close()
  })

  test('is no data where there was never any', async () => {
    const file = await createImage({ size: SIZE, cluster_size: CLUSTER, preallocation: 'metadata' })
    const { node, log } = await openLogged(file)
    await node.discard(0, SIZE / 2)
    await node.flush()
    const before = log.entries.length
    await node.compact()
    const data = log.entries.slice(before).filter((entry) => entry.kind === 'write' && entry.bytes >= CLUSTER)
    expect(data).toEqual([])
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })
})

describe('meanwhile', () => {
  test('the guest writes, discards and reads, and what it wrote last is there', async () => {
    const random = createRandom(3)
    const file = await createImage({ size: 4096 * CLUSTER, cluster_size: CLUSTER })
    const node = await open(file)
    const expected = pattern(node.size, 5)
    await node.write(0, expected)
    for (let at = 0; at < node.size; at += CLUSTER * random.int(1, 4)) {
      await node.discard(at, CLUSTER)
      expected.fill(0, at, at + CLUSTER)
    }
    await node.flush()
    let isOver = false
    const compacting = node.compact().finally(() => {
      isOver = true
    })
    let rounds = 0
    while (!isOver) {
      const at = random.int(0, 4096) * CLUSTER
      if (random.chance(0.3)) {
        await node.discard(at, CLUSTER)
        expected.fill(0, at, at + CLUSTER)
      } else {
        const bytes = random.bytes(700)
        await node.write(at + 100, bytes)
        expected.set(bytes, at + 100)
      }
      rounds++
    }
    // Requests are not held for the whole time.
    expect(rounds).toBeGreaterThan(3)
    const report = await compacting
    expect(sameBytes(await toBytes(node), expected)).toBe(true)
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
    expect(report.sizeAfter).toBeLessThan(report.sizeBefore)
    const again = await open(file)
    expect(sameBytes(await toBytes(again), expected)).toBe(true)
    await again.close()
  })

  test('it is cancelled: what was done is kept, and nothing is leaked', async () => {
    const file = await halved(4096)
    const node = await open(file)
    const content = await toBytes(node)
    const abort = new AbortController()
    let told = 0
    const onProgress = (): void => {
      if (++told === 2) abort.abort(new Error('enough'))
    }
    await expect(node.compact({ signal: abort.signal, onProgress })).rejects.toThrow('enough')
    expect(sameBytes(await toBytes(node), content)).toBe(true)
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
    const again = await open(file)
    const { movedBytes } = await again.compact()
    expect(movedBytes).toBeGreaterThan(0)
    expect(movedBytes).toBeLessThan(4096 * CLUSTER)
    expect(sameBytes(await toBytes(again), content)).toBe(true)
    await again.close()
  })

  test('the node is closed', async () => {
    const node = await open(await halved(4096))
    const compacting = node.compact()
    const failed = expect(compacting).rejects.toMatchObject({ code: 'ENOMEDIUM' })
    await node.close()
    await failed
  })
})

describe('what cannot be compacted', () => {
  test('is left, if nothing refers to it', async () => {
    const file = await halved()
    const { refcountTableOffset } = await headerOf(file)
    const end = Math.ceil(file.size / CLUSTER)
    await file.write(end * CLUSTER, filled(9, CLUSTER))
    const block = Number(viewOf(await bytesAt(file, refcountTableOffset, 8)).getBigUint64(0))
    await poke(file, block + end * 2, [0, 1])
    const node = await open(file)
    const content = await toBytes(node)
    // The leaked cluster stays at the end.
    expect(await node.compact()).toMatchObject({ leftBytes: CLUSTER, sizeAfter: (end + 1) * CLUSTER })
    expect(sameBytes(await toBytes(node), content)).toBe(true)
    await node.check({ repair: 'leaks' })
    expect((await node.compact()).sizeAfter).toBeLessThan(end * CLUSTER)
    expect(sameBytes(await toBytes(node), content)).toBe(true)
    await node.close()
  })

  test('is refused, if a cluster in use counts as free', async () => {
    const file = await halved()
    const { refcountTableOffset } = await headerOf(file)
    const block = Number(viewOf(await bytesAt(file, refcountTableOffset, 8)).getBigUint64(0))
    const before = await bytesAt(file, block, CLUSTER)
    const node = await open(file)
    await node.write(0, filled(7, CLUSTER))
    await node.close()
    const after = await bytesAt(file, block, CLUSTER)
    const taken = after.findIndex((count, at) => count !== before[at])
    await poke(file, block + taken, [0])
    const again = await open(file)
    const content = await toBytes(again)
    await expect(again.compact()).rejects.toMatchObject({
      code: 'EIO',
      message: expect.stringContaining('has to be repaired before it can be compacted'),
    })
    expect(sameBytes(await toBytes(again), content)).toBe(true)
    await again.crash()
  })

  test('is read-only, or of another kind', async () => {
    const file = await halved(8)
    const node = await open(file, { readOnly: true })
    await expect(node.compact()).rejects.toMatchObject({ code: 'EPERM' })
    await node.close()
    await expect((await emptyDisk()).compact()).rejects.toMatchObject({ code: 'ENOTSUP' })
  })
})

describe('references', () => {
  test('beyond what is kept give up the lower half of the window', () => {
    const map = new ReferenceMap(Float64Array.of(3, 5, 8, 13), 4)
    for (const cluster of [3, 5, 8, 13]) map.add(cluster, 0, cluster * 10)
    expect([...map.clusters]).toEqual([3, 5, 8, 13])
    map.add(13, 1, 7)
    map.add(3, 1, 1)
    map.add(4, 1, 1)
    map.group()
    const { clusters } = map
    expect(clusters.at(-1)).toBe(13)
    expect(clusters.length).toBeLessThan(4)
    expect(map.of(13)).toEqual([
      { root: 0, number: 130 },
      { root: 1, number: 7 },
    ])
    expect(map.of(3)).toEqual([])
  })
})

const headerOf = async (file: BlockNode) => headerIn(await bytesAt(file, 0, CLUSTER))
