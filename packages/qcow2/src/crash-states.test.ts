/**
 * Every disk a power cut may leave during a workload: it opens, what was flushed is there, eager images have
 * leaks at most, lazy ones say that they are dirty and a repair makes them clean with the data intact.
 */
import { type BlockNode, memoryFromBytes, type RawOptions } from '@vmblock/block-core'
import { CrashGuest, crashStates, createRandom, type Random, toBytes } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import { createImage, open, openLogged } from './testing/images.ts'

/** How many workloads: more of them find rarer things. */
const SCALE = Number(process.env['CRASH_SCALE'] ?? 1)

interface Variety {
  readonly name: string
  readonly create: RawOptions
  readonly open?: RawOptions
  /** The image lies over another one, which is full of data. */
  readonly overlay?: boolean
  /** The disk changes its size now and then. */
  readonly resizes?: boolean
}

/** The stamp that the backing file shows everywhere. */
const BACKING_STAMP = 1

const SMALL = { cluster_size: 512, size: 256 * 1024 }
const VARIETIES: readonly Variety[] = [
  { name: 'eager', create: SMALL },
  { name: 'lazy', create: { ...SMALL, lazy_refcounts: 'on' } },
  { name: 'eager, writethrough', create: SMALL, open: { cache: { writeback: false } } },
  {
    name: 'lazy, writethrough',
    create: { ...SMALL, lazy_refcounts: 'on' },
    open: { cache: { writeback: false } },
  },
  { name: 'eager, 64k clusters', create: { size: 4 * 2 ** 20 } },
  { name: 'lazy, 64k clusters', create: { size: 4 * 2 ** 20, lazy_refcounts: 'on' } },
  { name: 'extended L2', create: { size: 2 ** 20, cluster_size: 16384, extended_l2: 'on' } },
  {
    name: 'lazy, extended L2',
    create: { size: 2 ** 20, cluster_size: 16384, extended_l2: 'on', lazy_refcounts: 'on' },
  },
  { name: 'version 2', create: { ...SMALL, compat: '0.10' } },
  { name: '1-bit refcounts', create: { ...SMALL, refcount_bits: 1 } },
  { name: '64-bit refcounts', create: { ...SMALL, refcount_bits: 64 } },
  { name: 'overlay', create: { size: 2 ** 20, cluster_size: 4096 }, overlay: true },
  {
    name: 'lazy overlay',
    create: { size: 2 ** 20, cluster_size: 4096, lazy_refcounts: 'on' },
    overlay: true,
  },
  { name: 'resizes', create: SMALL, resizes: true },
  { name: 'lazy, resizes', create: { ...SMALL, lazy_refcounts: 'on' }, resizes: true },
]

/** What opens over a disk: the image, and the same backing file for all disks of a test. */
type Opener = (file: BlockNode, options?: RawOptions) => Promise<BlockNode>

/** A backing file full of one stamp, never written again. */
async function fullBacking(size: number): Promise<BlockNode> {
  const file = await createImage({ size, cluster_size: 65536 })
  const { node, log } = await openLogged(file)
  await new CrashGuest(node, log, BACKING_STAMP - 1).write(0, size)
  await node.close()
  return open(file, { 'read-only': true })
}

/** A few dozen random requests, some of them at the same time. */
async function workload(
  node: BlockNode,
  guest: CrashGuest,
  random: Random,
  cluster: number,
  resizes: boolean,
): Promise<void> {
  const range = (unit: number, most: number): [number, number] => {
    const { size } = node
    const offset = random.int(0, size / unit) * unit
    return [offset, Math.min(size - offset, (1 + random.int(0, most)) * unit)]
  }
  for (let i = 0; i < 25; i++) {
    const { size } = node
    if (resizes && random.chance(0.2)) {
      await guest.resize(random.int(1, 80) * 8192)
      continue
    }
    const batch: Promise<void>[] = []
    // Requests at the same time do not overlap: which of them wins would be anybody's guess.
    const lanes = 1 + random.int(0, 3)
    for (let lane = 0; lane < lanes; lane++) {
      const [offset, bytes] =
        lanes === 1
          ? range(512, 24)
          : [(lane * size) / 4 + random.int(0, size / 4096) * 512, 512 * (1 + random.int(0, 8))]
      const kind = random.int(0, 10)
      if (kind < 6) batch.push(guest.write(offset, bytes))
      else if (kind < 7) batch.push(guest.zero(offset, bytes, random.int(0, 2) === 0))
      else if (kind < 8 && lanes === 1) batch.push(guest.discard(...range(cluster, 4)))
      else if (kind < 9) batch.push(guest.flush())
    }
    await Promise.all(batch)
  }
}

async function judge(
  disk: Uint8Array,
  moment: number,
  guest: CrashGuest,
  lazy: boolean,
  { opener, base }: { readonly opener: Opener; readonly base: () => number },
): Promise<string | undefined> {
  const before = await opener(memoryFromBytes(disk.slice()), { 'read-only': true })
  const lines: string[] = []
  const dirty = (await before.info()).dirty
  const report = await before.check({ report: (line) => lines.push(line) })
  const seen = await guest.judge(before, moment, base)
  await before.close()
  if (seen) return `before repair: ${seen}`
  if (report.checkErrors > 0) return `check errors: ${lines.join('; ')}`
  if (report.corruptions > 0 && !(lazy && dirty))
    return `corruptions without the dirty bit: ${lines.join('; ')}`
  const file = memoryFromBytes(disk)
  const after = await opener(file)
  const repaired = await guest.judge(after, moment, base)
  if (repaired) return `after repair: ${repaired}`
  await after.write(0, new Uint8Array(512).fill(1))
  await after.close()
  const again = await opener(file, { 'read-only': true })
  const final = await again.check({ report: (line) => lines.push(line) })
  await again.close()
  if (final.corruptions > 0 || (dirty && final.leaks > 0))
    return `after repair: ${JSON.stringify(final)} ${lines.join('; ')}`
  return undefined
}

describe('power cuts', () => {
  for (const { name, create, open: options = {}, overlay = false, resizes = false } of VARIETIES) {
    test(name, { timeout: 3_600_000 }, async () => {
      const lazy = create['lazy_refcounts'] === 'on'
      const backing = overlay ? await fullBacking(Number(create['size'])) : undefined
      const below = backing ? { backing } : {}
      const opener: Opener = (file, given = {}) => open(file, { ...below, ...given })
      const eyes = { opener, base: () => (overlay ? BACKING_STAMP : 0) }
      let states = 0
      for (let seed = 1; seed <= Math.max(1, Math.round(SCALE)); seed++) {
        const random = createRandom(seed)
        const file = await createImage(create)
        const base = await toBytes(file)
        const { node, log } = await openLogged(file, { ...below, ...options })
        const guest = new CrashGuest(node, log, 1000)
        await workload(node, guest, random, Number(create['cluster_size'] ?? 65536), resizes)
        if (random.int(0, 2) === 0) await node.close().then(() => guest.closed())
        for (const state of crashStates(base, log, { random, moments: 12, disksPerMoment: 8 })) {
          states++
          const where = `seed ${seed}, moment ${state.moment}: ${state.story}`
          const crashed = state.disk.slice()
          expect(await judge(state.disk, state.moment, guest, lazy, eyes), where).toBeUndefined()
          // A power cut during the repair must be repairable, too.
          if (!lazy || states % 8 !== 0) continue
          const repairing = await openLogged(memoryFromBytes(crashed), below)
          await repairing.node.close()
          for (const again of crashStates(crashed, repairing.log, {
            random,
            moments: 3,
            disksPerMoment: 3,
          })) {
            states++
            const story = `${where}; then, in the repair: ${again.story}`
            expect(await judge(again.disk, state.moment, guest, lazy, eyes), story).toBeUndefined()
          }
        }
      }
      console.log(`${name}: ${states} states`)
    })
  }
})
