/**
 * Power cuts while refcounts are raised ahead (`refcount-reserve`): nothing is lost, nothing is wrong but leaks, and of
 * those there are no more than were reserved or on their way.
 */
import { type BlockNode, memoryFromBytes, type NodeOps, type RawOptions } from '@vmblock/block-core'
import { CrashGuest, crashStates, createRandom, nodeOf, toBytes } from '@vmblock/block-core/testing'
import { expect, test } from 'vitest'
import { createImage, findings, open, openLogged } from './testing/images.ts'

/** How many workloads: more of them find rarer things. */
const SCALE = Number(process.env['CRASH_SCALE'] ?? 1)

const CLUSTER = 512
const SIZE = 512 * 1024
const RESERVED = 24

const VARIETIES: readonly (readonly [string, RawOptions, RawOptions])[] = [
  ['writethrough', {}, { cache: { writeback: false } }],
  ['writeback', {}, {}],
  ['1-bit refcounts', { refcount_bits: 1 }, { cache: { writeback: false } }],
  ['version 2', { compat: '0.10' }, {}],
]

/** Writes that allocate one, or several clusters, some of them at a time; and flushes, discards, checks in between. */
async function workload(node: BlockNode, guest: CrashGuest, seed: number): Promise<void> {
  const random = createRandom(seed)
  for (let i = 0; i < 40; i++) {
    const kind = random.int(0, 12)
    const at = random.int(0, SIZE / CLUSTER - 8) * CLUSTER
    if (kind < 8) {
      const lanes = random.int(1, 4)
      const part = SIZE / 4
      await Promise.all(
        Array.from({ length: lanes }, (_, lane) =>
          guest.write(lane * part + (at % (part - 4096)), random.int(1, 6) * CLUSTER),
        ),
      )
    } else if (kind < 10) {
      await guest.flush()
    } else if (kind < 11) {
      // A flush with nothing to do takes no time, and so does a discard: which came first could not be told.
      await guest.write(at, CLUSTER)
      await guest.discard(at, 2 * CLUSTER)
    } else {
      await node.check()
    }
  }
}

test.each(VARIETIES)(
  'power cuts with reserved refcounts, %s',
  { timeout: 3_600_000 },
  async (_, create, options) => {
    let most = 0
    for (let seed = 1; seed <= Math.max(1, Math.round(SCALE)); seed++) {
      const file = await createImage({ size: SIZE, cluster_size: CLUSTER, ...create })
      const base = await toBytes(file)
      const { node, log } = await openLogged(file, { 'refcount-reserve': RESERVED, ...options })
      const guest = new CrashGuest(node, log)
      await workload(node, guest, seed)
      if (seed % 2 === 1) await node.close().then(() => guest.closed())
      const plan = { random: createRandom(seed), moments: 40, disksPerMoment: 6 }
      for (const { disk, moment, story } of crashStates(base, log, plan)) {
        const where = `seed ${seed}, moment ${moment}: ${story}`
        const { lines, ...report } = await findings(memoryFromBytes(disk.slice()))
        expect(report, `${where}\n${lines.join('\n')}`).toMatchObject({ corruptions: 0, checkErrors: 0 })
        most = Math.max(most, report.leaks)
        const after = await open(memoryFromBytes(disk), { 'refcount-reserve': RESERVED })
        expect(await guest.judge(after, moment), where).toBeUndefined()
        await after.close()
      }
    }
    expect(most).toBeGreaterThan(0)
  },
)

test('of one write after the other leak what is reserved, and one request, at most', async () => {
  const file = await createImage({ size: SIZE, cluster_size: CLUSTER })
  const base = await toBytes(file)
  const { node, log } = await openLogged(file, {
    'refcount-reserve': RESERVED,
    cache: { writeback: false },
  })
  for (let i = 0; i < 80; i++) await node.write(i * CLUSTER, new Uint8Array(CLUSTER).fill(i + 1))
  await node.crash()
  let most = 0
  for (const { disk } of crashStates(base, log, {
    random: createRandom(3),
    moments: 400,
    disksPerMoment: 8,
  })) {
    const { leaks, corruptions } = await findings(memoryFromBytes(disk))
    expect(corruptions).toBe(0)
    most = Math.max(most, leaks)
  }
  // The request's cluster and a table for it.
  expect(most).toBeGreaterThanOrEqual(RESERVED)
  expect(most).toBeLessThanOrEqual(RESERVED + 2)
})

/** A disk on which the guest's data of one byte waits until it is let go. */
function slowDisk({ ops }: BlockNode) {
  const gates = new Map<number, Promise<void>>()
  const hold = (byte: number): (() => void) => {
    let letGo!: () => void
    gates.set(byte, new Promise((resolve) => (letGo = resolve)))
    return letGo
  }
  const slow: NodeOps = {
    growable: true,
    size: () => ops.size(),
    read: (offset, into) => ops.read(offset, into),
    flush: () => Promise.resolve(),
    truncate: (size, options) => ops.truncate!(size, options),
    async write(offset, from, flags) {
      if (from.every((byte) => byte === from[0])) await gates.get(from[0]!)
      await ops.write!(offset, from, flags)
    },
  }
  return { file: nodeOf(slow), hold }
}

test.each([0, RESERVED])(
  'a write whose refcounts another one made durable waits for its data, %i reserved',
  async (reserve) => {
    const disk = await createImage({ size: SIZE, cluster_size: CLUSTER })
    const { file, hold } = slowDisk(disk)
    const { node, log } = await openLogged(file, {
      'refcount-reserve': reserve,
      cache: { writeback: false },
    })
    const write = (cluster: number, byte: number): Promise<void> =>
      node.write(cluster * CLUSTER, new Uint8Array(CLUSTER).fill(byte))
    await write(0, 1)
    const base = await toBytes(disk)
    log.clear()
    const [first, second] = [hold(0xa1), hold(0xa2)]
    const writes = [write(1, 0xa1), write(2, 0xa2)]
    for (let i = 0; i < 100; i++) await Promise.resolve()
    // The flush of the one takes along the refcounts of both, and nothing of the other one's data, which ends the file.
    first()
    await writes[0]
    second()
    await writes[1]
    const plan = { random: createRandom(1), moments: 1000, disksPerMoment: 64 }
    for (const { disk: left, moment, story } of crashStates(base, log, plan)) {
      const { lines, ...report } = await findings(memoryFromBytes(left))
      expect(report, `${moment}: ${story}\n${lines.join('\n')}`).toMatchObject({ corruptions: 0 })
    }
    await node.close()
    expect(await findings(disk)).toMatchObject({ corruptions: 0, leaks: 0 })
  },
)
