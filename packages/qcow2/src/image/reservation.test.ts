/** `refcount-reserve`: clusters that are reserved, released, and leaked by a crash. */
import { type BlockNode, openNode, type RawOptions, reopenNode } from '@vmblock/block-core'
import { describe, expect, test } from 'vitest'
import {
  copyOf,
  createImage,
  environment,
  filled,
  findings,
  open,
  openLogged,
  SOUND,
} from '../testing/images.ts'

const CLUSTER = 65536
const RESERVE = { 'refcount-reserve': 16 }

async function openReserving(file: BlockNode, options: RawOptions = {}): Promise<BlockNode> {
  return open(file, { ...RESERVE, ...options })
}

/** Clusters that a power cut would leak now. */
async function leaked(file: BlockNode): Promise<number> {
  const { leaks, ...rest } = await findings(await copyOf(file))
  expect(rest).toMatchObject({ corruptions: 0, checkErrors: 0 })
  return leaks
}

describe('refcount-reserve', () => {
  test('leaks what it reserved in a crash, and nothing after a clean close', async () => {
    const file = await createImage({ size: 2 ** 26 })
    const node = await openReserving(file)
    const seen: number[] = []
    for (let i = 0; i < 40; i++) {
      await node.write(i * CLUSTER, filled(1, 512))
      await node.flush()
      seen.push(await leaked(file))
    }
    expect(Math.max(...seen)).toBe(16)
    // The table and 16 clusters, then 17 at a time.
    expect(seen.slice(0, 19)).toEqual([15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 16, 15, 14])
    await node.close()
    expect(await findings(file)).toMatchObject({ ...SOUND, imageEndOffset: (4 + 1 + 40) * CLUSTER })
  })

  test('is no leak for a check of the open image, which goes on with what it gave back', async () => {
    const file = await createImage({ size: 2 ** 26 })
    const node = await openReserving(file)
    await node.write(0, filled(1, 512))
    expect(await node.check()).toMatchObject({ leaks: 0, corruptions: 0, imageEndOffset: 6 * CLUSTER })
    await node.write(CLUSTER, filled(2, 512))
    expect((await node.blockStatus(CLUSTER, 512)).host?.offset).toBe(6 * CLUSTER)
    await node.flush()
    expect(await leaked(file)).toBe(16)
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test('changes with a reopen, which gives back what was reserved before', async () => {
    const file = await createImage({ size: 2 ** 26 })
    const node = await openNode(environment, { driver: 'qcow2', file, ...RESERVE })
    await node.write(0, filled(1, 512))
    await node.flush()
    await reopenNode(node, { options: { 'refcount-reserve': 4 } })
    expect(await leaked(file)).toBe(0)
    await node.write(CLUSTER, filled(1, 512))
    await node.flush()
    expect(await leaked(file)).toBe(4)
    await reopenNode(node, { options: { 'refcount-reserve': 0 } })
    await node.write(2 * CLUSTER, filled(1, 512))
    await node.flush()
    expect(await leaked(file)).toBe(0)
    await reopenNode(node, { options: { ...RESERVE, 'lazy-refcounts': true } })
    await node.write(3 * CLUSTER, filled(1, 512))
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test.each([
    ['resize', (node: BlockNode) => node.truncate(2 ** 20)],
    ['become empty', (node: BlockNode) => node.makeEmpty()],
    ['are amended', (node: BlockNode) => node.amend({ compat: '0.10' })],
  ])('is given back by images that %s', async (_, change) => {
    const file = await createImage({ size: 2 ** 26 })
    const node = await openReserving(file)
    await node.write(0, filled(1, 3 * CLUSTER))
    await change(node)
    await node.flush()
    expect(await leaked(file)).toBe(0)
    await node.write(0, filled(2, 512))
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test('serves requests of several clusters in a row, and joins what is left with what follows', async () => {
    const file = await createImage({ size: 2 ** 28 })
    const { node, log } = await openLogged(file, { ...RESERVE, cache: { writeback: false } })
    const writes = 60
    for (let i = 0; i < writes; i++) await node.write(i * 5 * CLUSTER, filled(1, 3 * CLUSTER))
    // In a row, since clusters are allocated in order.
    for (let i = 1; i < writes; i++)
      expect((await node.blockStatus(i * 5 * CLUSTER, 512)).host?.offset).toBe(
        (6 + 3 * i) * CLUSTER - CLUSTER,
      )
    const taken = 1 + 3 * writes
    const refcountWrites = log.count(({ kind, offset }) => kind === 'write' && offset < 3 * CLUSTER).writes
    expect(refcountWrites).toBeLessThanOrEqual(Math.ceil(taken / 16) + 1)
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test('goes around what is in use, and to the end of a block at most', async () => {
    const file = await createImage({ size: 2 ** 20, cluster_size: 512, refcount_bits: 16 })
    const before = await open(file)
    await before.write(0, filled(1, 2 ** 18))
    // Frees every third cluster.
    for (let at = 0; at < 2 ** 18; at += 3 * 512) await before.discard(at, 512)
    await before.close()
    const node = await openReserving(file)
    for (let i = 0; i < 900; i++) {
      await node.write(2 ** 18 + i * 512, filled(2, i % 7 === 0 ? 1024 : 512))
      if (i % 100 !== 0) continue
      await node.flush()
      expect(await leaked(file)).toBeLessThanOrEqual(16)
    }
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test('has no use for lazy refcounts', async () => {
    const file = await createImage({ size: 2 ** 26, lazy_refcounts: 'on' })
    const { node, log } = await openLogged(file, RESERVE)
    await node.write(0, filled(1, 512))
    const before = log.count()
    await node.close()
    // The table, the L1 entry, the refcounts of exactly two clusters, and the dirty bit cleared.
    expect(log.count().writes - before.writes).toBe(4)
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test.each([
    [{ 'refcount-reserve': -1 }, /expects a number/],
    [{ 'refcount-reserve': 2 ** 20 + 1 }, /'refcount-reserve' may not exceed 1048576 clusters/],
  ])('refuses %o', async (options, message) => {
    await expect(open(await createImage({ size: 2 ** 20 }), options)).rejects.toThrow(message)
  })
})
