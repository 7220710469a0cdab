/** Compacting: the file gets as short as what it holds, the content stays, and no more is written than was moved. */
import type { BlockNode, RawOptions } from '@vmblock/block-core'
import { createRandom, toBytes } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import { createImage, findings, open, pattern, SOUND, sameBytes } from '../testing/images.ts'

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
