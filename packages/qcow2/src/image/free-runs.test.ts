/** Remembered runs of free clusters never lead to a cluster that is in use. */
import { createRandom, toBytes } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import { refcountAccess } from '../format/refcount-width.ts'
import { bytesAt, createImage, findings, open, pattern, SOUND, sameBytes } from '../testing/images.ts'
import { freeRunsOf } from './free-runs.ts'

describe('runs of free clusters', () => {
  test.each([
    ['', 0, 0, 0],
    ['....', 4, 4, 4],
    ['xxxx', 0, 0, 0],
    ['.xx.', 1, 1, 1],
    ['..x...x.', 3, 2, 1],
    ['x.....', 5, 0, 5],
    ['...x', 3, 3, 0],
  ])('of "%s"', (slice, longest, head, tail) => {
    const refcounts = refcountAccess(3)
    const bytes = Uint8Array.from(slice, (letter) => (letter === 'x' ? 1 : 0))
    expect(freeRunsOf(refcounts, bytes, slice.length)).toEqual({ longest, head, tail })
  })
})

describe('an image in which clusters come and go', () => {
  const CLUSTER = 512
  /** Single clusters come and go in one half of the disk; several in a row are needed in the other. */
  const HALF = 640

  test.each([1, 2, 3, 4])('seed %i keeps its data, whatever is searched for', async (seed) => {
    const random = createRandom(seed)
    const size = 2 * HALF * CLUSTER
    // Slices of 64 refcounts, so that searches pass through many, and runs cross them.
    const file = await createImage({ size, cluster_size: CLUSTER, refcount_bits: 64 })
    const node = await open(file, { 'refcount-reserve': seed % 2 === 0 ? 5 : 0 })
    const model = new Uint8Array(size)
    const write = async (cluster: number, count: number, stamp: number): Promise<void> => {
      const data = pattern(count * CLUSTER, stamp)
      await node.write(cluster * CLUSTER, data)
      model.set(data, cluster * CLUSTER)
    }
    const discard = async (cluster: number, count: number): Promise<void> => {
      await node.discard(cluster * CLUSTER, count * CLUSTER)
      await node.flush()
      model.fill(0, cluster * CLUSTER, (cluster + count) * CLUSTER)
    }
    await write(0, HALF, 1)
    for (let step = 0; step < 1500; step++) {
      const single = random.int(0, HALF)
      const several = HALF + random.int(0, HALF / 4) * 4
      const kind = random.int(0, 10)
      if (kind < 4) await discard(single, 1)
      else if (kind < 8) await write(single, 1, step + 2)
      else if (kind < 9) await write(several, random.int(2, 5), step + 2)
      else await discard(several, 4)
    }
    expect(sameBytes(await toBytes(node), model)).toBe(true)
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test.each([
    ['by a search', 2048, (boundary: number) => boundary - 80, 3],
    ['from the cache', 65536, (boundary: number) => boundary - 65, 2],
  ])('does not take a cluster for free that was taken %s since', async (_, cache, before, singles) => {
    const file = await createImage({ size: 2 * HALF * CLUSTER, cluster_size: CLUSTER, refcount_bits: 64 })
    const node = await open(file, { refcountCacheSize: cache })
    await node.write(0, pattern(HALF * CLUSTER))
    await node.write((HALF + 60) * CLUSTER, pattern(CLUSTER)) // creates the L2 table
    /** Guest clusters by host cluster. */
    const guestAt = new Map<number, number>()
    for (let guest = 0; guest < HALF; guest++)
      guestAt.set((await node.blockStatus(guest * CLUSTER, CLUSTER)).host!.offset / CLUSTER, guest)
    const free = async (...hosts: number[]): Promise<void> => {
      for (const host of hosts) await node.discard(guestAt.get(host)! * CLUSTER, CLUSTER)
      await node.flush()
    }
    // The last cluster of a slice, and the first one of the next: a search for more clusters passes through
    // both slices.
    const boundary = 6 * 64
    const hole = boundary - 75
    expect([boundary - 1, boundary, hole, before(boundary)].every((host) => guestAt.has(host))).toBe(true)
    await free(hole, boundary - 1, boundary)
    await node.write(HALF * CLUSTER, pattern(4 * CLUSTER, 2))
    // Single clusters fill the gaps before, and then take the last cluster of the slice.
    await free(before(boundary))
    const guestOf = (i: number): number => (HALF + 8 + 2 * i) * CLUSTER
    for (let i = 0; i < singles; i++) await node.write(guestOf(i), pattern(CLUSTER, 3 + i))
    expect((await node.blockStatus(guestOf(singles - 1), CLUSTER)).host?.offset).toBe(
      (boundary - 1) * CLUSTER,
    )
    await free(boundary - 90)
    await node.write((HALF + 32) * CLUSTER, pattern(2 * CLUSTER, 9))
    for (let i = 0; i < singles; i++)
      expect(sameBytes(await bytesAt(node, guestOf(i), CLUSTER), pattern(CLUSTER, 3 + i))).toBe(true)
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })
})
