/**
 * The cost of allocating writes, counted exactly: the gains of lazy refcounts,
 * of group commit, of refcounts raised ahead, and of metadata written in small pieces.
 */
import { openMemory, type RawOptions } from '@vmblock/block-core'
import { neverWaitForTurns } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import { createImage, filled, openLogged } from '../testing/images.ts'

// With a file in memory, only the core's own pauses let the event loop turn; real flushes do so anyway.
neverWaitForTurns()

const WRITES = 512
const BYTES = 4096
const CLUSTER = 65536

interface Cost {
  readonly writes: number
  readonly flushes: number
  /** Bytes of everything but guest data. */
  readonly metadataBytes: number
}

interface Costs {
  /** Once the last write is durable. */
  readonly last: Cost
  /** After a clean close. */
  readonly closed: Cost
}

/** Durable writes of 4 KiB, each to a new cluster, `depth` of them in flight at any time. */
async function costsOf(depth: number, create: RawOptions, open: RawOptions = {}): Promise<Costs> {
  const file = await createImage({ size: 2 ** 30, ...create })
  const { node, log } = await openLogged(file, { cache: { writeback: false }, ...open })
  let next = 0
  const writer = async (): Promise<void> => {
    while (next < WRITES) await node.write(next++ * CLUSTER, filled(0x5a, BYTES))
  }
  const cost = (): Cost => {
    const { writes, bytes, flushes } = log.count()
    return { writes, flushes, metadataBytes: bytes - WRITES * BYTES }
  }
  await Promise.all(Array.from({ length: depth }, writer))
  const last = cost()
  await node.close()
  return { last, closed: cost() }
}

const MODES = {
  eager: [{}, {}],
  'eager, 64 clusters reserved': [{}, { 'refcount-reserve': 64 }],
  lazy: [{ lazy_refcounts: 'on' }, {}],
} as const

/** Writes and flushes of QEMU 7.2 for the same work, including its close (strace of `qemu-img bench`). */
const QEMU: Readonly<Record<string, Readonly<Record<number, readonly [number, number]>>>> = {
  eager: { 1: [1539, 1027], 16: [1381, 870], 64: [1288, 777] },
  lazy: { 1: [1030, 518], 16: [815, 364], 64: [718, 227] },
}

/**
 * Per group of writes that become durable together: its L2 entries, and before them (with a flush in between)
 * its refcounts, in sectors of 512 bytes. Once per image: the L1 entry of the new table (the table has 16
 * bytes). Lazy: that table's refcount, the dirty bit set and cleared (8 bytes each), the refcounts at close,
 * and the file extended at times, which takes a flush. Reserved: refcounts of 65 clusters at a time, and
 * those left over at close.
 */
const EXPECTED: readonly [keyof typeof MODES, depth: number, last: Cost, closed: Cost][] = [
  ['eager', 1, cost(1537, 1024, 524_304), cost(1537, 1024, 524_304)],
  ['eager', 16, cost(577, 64, 33_808), cost(577, 64, 33_808)],
  ['eager', 64, cost(529, 16, 9232), cost(529, 16, 9232)],
  ['eager, 64 clusters reserved', 1, cost(1033, 520, 267_280), cost(1034, 521, 267_792)],
  ['eager, 64 clusters reserved', 16, cost(553, 40, 21_520), cost(554, 41, 22_032)],
  ['eager, 64 clusters reserved', 64, cost(529, 16, 9232), cost(530, 17, 9744)],
  ['lazy', 1, cost(1027, 514, 262_680), cost(1029, 517, 264_224)],
  ['lazy', 16, cost(547, 34, 16_920), cost(549, 37, 18_464)],
  ['lazy', 64, cost(523, 10, 4632), cost(525, 13, 6176)],
]

function cost(writes: number, flushes: number, metadataBytes: number): Cost {
  return { writes, flushes, metadataBytes }
}

describe('512 allocating writes in writethrough', () => {
  test.each(EXPECTED)('%s, %i at a time', async (mode, depth, last, closed) => {
    const [create, open] = MODES[mode]
    expect(await costsOf(depth, create, open)).toEqual({ last, closed })
    const peer = QEMU[mode]?.[depth]
    if (!peer) return
    expect(closed.writes).toBeLessThanOrEqual(peer[0])
    expect(closed.flushes).toBeLessThanOrEqual(peer[1])
  })
})

describe('allocating writes in writeback', () => {
  test('cost one write each, and no flush before one is asked for', async () => {
    const file = await createImage({ size: 2 ** 36 })
    const { node, log } = await openLogged(file)
    // Every write needs a new L2 table.
    for (let i = 0; i < 100; i++) await node.write(i * 2 ** 29, filled(0x5a, BYTES))
    expect(log.count()).toMatchObject({ writes: 100, flushes: 0 })
    await node.flush()
    // One of refcounts, one of each table, and one of L1 entries, which are adjacent.
    expect(log.count()).toMatchObject({ writes: 100 + 1 + 100 + 1, flushes: 2 })
    await node.close()
  })

  test('of neighbours in one cluster are one', async () => {
    const file = await createImage({ size: 2 ** 30 })
    const { node, log } = await openLogged(file)
    await node.write(0, filled(0x5a, 2 ** 20))
    expect(log.count()).toMatchObject({ writes: 1, bytes: 2 ** 20 })
    await node.write(4096, filled(0x5a, 2 ** 20))
    // Allocated clusters are written in place; the rest takes a new cluster.
    expect(log.count()).toMatchObject({ writes: 3, bytes: 2 ** 21 })
    await node.close()
  })
})

/** Whole clusters, 16 of them over data of a backing file: writes and flushes until all are durable. */
async function overlayCost(create: RawOptions, open: RawOptions): Promise<Pick<Cost, 'writes' | 'flushes'>> {
  const size = 16 * CLUSTER
  const backing = openMemory(filled(0x11, size))
  const { node, log } = await openLogged(await createImage({ size, ...create }), { ...open, backing })
  for (let i = 0; i < 16; i++) await node.write(i * CLUSTER, filled(0x5a, CLUSTER))
  await node.flush()
  const { writes, flushes } = log.count()
  await node.close()
  return { writes, flushes }
}

describe('whole clusters over data of a backing file', () => {
  const lazy = { lazy_refcounts: 'on' }
  const through = { cache: { writeback: false } }
  // Lazy: the dirty bit is one more. Written through, the data of each write is made durable before its entry, as in an
  // eager image, where the flush of the refcounts does that.
  test.each<[string, RawOptions, RawOptions, number]>([
    ['eager', {}, {}, 2],
    ['lazy', lazy, {}, 3],
    ['eager, writethrough', {}, through, 32],
    ['lazy, writethrough', lazy, through, 32],
  ])('%s', async (_, create, open, flushes) => {
    expect(await overlayCost(create, open)).toMatchObject({ flushes })
  })
})
