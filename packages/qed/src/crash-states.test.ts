/**
 * Every disk a power cut may leave during a workload: it opens, what was flushed is there, entries that lead nowhere
 * stand under the need-check bit, and the next writer repairs them.
 */
import { type BlockNode, memoryFromBytes, type RawOptions } from '@vmblock/block-core'
import { CrashGuest, crashStates, createRandom, type Random, toBytes } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import { createImage, open, type TestClock } from './testing/images.ts'

const SCALE = Number(process.env['CRASH_SCALE'] ?? 1)
const SECTOR = 512

interface Variety {
  readonly name: string
  readonly create: RawOptions
  readonly open?: RawOptions
  readonly overBacking?: boolean
}

const SMALL = { cluster_size: 4096, table_size: 1, size: 4 * 2 ** 20 }
const WRITETHROUGH = { cache: { writeback: false } }
const VARIETIES: readonly Variety[] = [
  { name: '4k clusters', create: SMALL },
  { name: '4k clusters, writethrough', create: SMALL, open: WRITETHROUGH },
  { name: '64k clusters', create: { size: 2 * 2 ** 20 } },
  { name: 'overlay, 4k clusters', create: SMALL, overBacking: true },
  { name: 'overlay, 4k clusters, writethrough', create: SMALL, open: WRITETHROUGH, overBacking: true },
]

/** What a backing file shows everywhere; no guest writes so often. */
const BACKING_STAMP = 0x7fff_ffff

/** A disk full of what {@link CrashGuest} takes for whole sectors of one write. */
function backingBytes(size: number): Uint8Array {
  const words = new Uint32Array(size / 4).fill(BACKING_STAMP)
  for (let sector = 0; sector < size / SECTOR; sector++) words[(sector * SECTOR) / 4 + 1] = sector
  return new Uint8Array(words.buffer)
}

/** Some dozen random requests, some of them at the same time; now and then nothing happens for a while. */
async function workload(node: BlockNode, guest: CrashGuest, clock: TestClock, random: Random): Promise<void> {
  const { size } = node
  for (let i = 0; i < 25; i++) {
    const batch: Promise<void>[] = []
    // Requests at the same time do not overlap: which of them wins would be anybody's guess.
    const lanes = 1 + random.int(0, 3)
    for (let lane = 0; lane < lanes; lane++) {
      const offset = (lane * size) / 4 + random.int(0, 64) * 4096 + random.int(0, 8) * SECTOR
      const bytes = SECTOR * (1 + random.int(0, 24))
      const kind = random.int(0, 10)
      if (kind < 6) batch.push(guest.write(offset, bytes))
      else if (kind < 8) batch.push(guest.zero(offset - (offset % 4096), 4096 * random.int(1, 4), true))
      else if (kind < 9) batch.push(guest.flush())
    }
    if (random.chance(0.15)) clock.elapse()
    await Promise.all(batch)
  }
}

interface Scene {
  readonly guest: CrashGuest
  readonly moment: number
  readonly backing: Uint8Array | undefined
}

async function judge(disk: Uint8Array, { guest, moment, backing }: Scene): Promise<string | undefined> {
  const below = async (): Promise<RawOptions> =>
    backing ? { backing: await memoryFromBytes(backing.slice()) } : {}
  const base = (): number => (backing ? BACKING_STAMP : 0)
  const { node: before } = await open(await memoryFromBytes(disk.slice()), {
    'read-only': true,
    ...(await below()),
  })
  const dirty = (await before.info()).dirty === true
  const report = await before.check()
  const seen = await guest.judge(before, moment, base)
  await before.close()
  if (seen) return `before repair: ${seen}`
  if (report.checkErrors > 0) return 'check errors'
  if (report.corruptions > 0 && !dirty) return 'corruptions without the need-check bit'
  const file = await memoryFromBytes(disk)
  const { node: after } = await open(file, await below())
  const repaired = await guest.judge(after, moment, base)
  if (repaired) return `after repair: ${repaired}`
  await after.write(0, new Uint8Array(SECTOR).fill(1))
  await after.write(after.size - SECTOR, new Uint8Array(SECTOR).fill(1))
  await after.close()
  const { node: again } = await open(file, { 'read-only': true, ...(await below()) })
  const { corruptions } = await again.check()
  const stillDirty = (await again.info()).dirty === true
  await again.close()
  return corruptions > 0 || stillDirty ? 'not clean after repair' : undefined
}

describe('power cuts', () => {
  for (const { name, create, open: options = {}, overBacking } of VARIETIES) {
    test(name, { timeout: 3_600_000 }, async () => {
      for (let seed = 1; seed <= 2 * SCALE; seed++) {
        const random = createRandom(seed)
        const file = await createImage(create)
        const base = await toBytes(file)
        const backing = overBacking ? backingBytes(Number(create['size'])) : undefined
        const { node, log, clock } = await open(file, {
          ...options,
          ...(backing && { backing: await memoryFromBytes(backing.slice()) }),
        })
        const guest = new CrashGuest(node, log)
        await workload(node, guest, clock, random)
        if (random.int(0, 2) === 0) await node.close().then(() => guest.closed())
        for (const state of crashStates(base, log, { random, moments: 8, disksPerMoment: 6 })) {
          const problem = await judge(state.disk, { guest, moment: state.moment, backing })
          expect(problem, `seed ${seed}, moment ${state.moment}: ${state.story}`).toBeUndefined()
        }
      }
    })
  }

  test('twice in a row lose nothing either', { timeout: 3_600_000 }, async () => {
    for (let seed = 1; seed <= 3 * SCALE; seed++) {
      const random = createRandom(seed)
      const first = await createImage(SMALL)
      const empty = await toBytes(first)
      const { node, log, clock } = await open(first)
      await workload(node, new CrashGuest(node, log), clock, random)
      // The first crash leaves parts of clusters and garbage; the disk after its repair is the new beginning.
      const states = [...crashStates(empty, log, { random, moments: 3, disksPerMoment: 4 })]
      for (const { disk } of states) {
        const file = await memoryFromBytes(disk)
        const base = disk.slice()
        const second = await open(file)
        const shown = await toBytes(second.node)
        const stamp = (offset: number): number => new Uint32Array(shown.buffer, offset, 1)[0]!
        const guest = new CrashGuest(second.node, second.log, 1000)
        await workload(second.node, guest, second.clock, random)
        for (const state of crashStates(base, second.log, { random, moments: 4, disksPerMoment: 4 })) {
          const { node: after } = await open(await memoryFromBytes(state.disk))
          const problem = await guest.judge(after, state.moment, stamp)
          expect(problem, `seed ${seed}, moment ${state.moment}: ${state.story}`).toBeUndefined()
        }
      }
    }
  })
})
