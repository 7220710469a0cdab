/**
 * Compacting an image with snapshots and compressed clusters: after every power cut, disk and snapshots hold what they
 * held, and a check finds leaks at most; without one, nothing is lost, leaked or left.
 */
import { type BlockNode, openMemory } from '@vmblock/block-core'
import { CrashDisk, crashStates, createRandom, type Random, toBytes } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import { compressCluster } from '../testing/fault-scenarios.ts'
import { createImage, findings, open, openLogged, pattern, SOUND, sameBytes } from '../testing/images.ts'
import { addSnapshot, snapshotBytes } from '../testing/snapshot-fixture.ts'

const CLUSTER = 1024
/** One L2 table has 128 entries. */
const CLUSTERS = 160
const SIZE = CLUSTERS * CLUSTER

async function writeSome(file: BlockNode, random: Random, chance: number): Promise<void> {
  const node = await open(file)
  for (let at = 0; at < CLUSTERS; at++)
    if (random.chance(chance)) await node.write(at * CLUSTER, pattern(CLUSTER, random.int(1, 1e6)))
  await node.flush()
  for (let at = 0; at < CLUSTERS; at++)
    if (random.chance(chance / 2)) await node.discard(at * CLUSTER, CLUSTER)
  await node.close()
}

/** An image with two snapshots, compressed clusters, and holes. */
async function made(random: Random, lazy: boolean): Promise<BlockNode> {
  const file = await createImage({ size: SIZE, cluster_size: CLUSTER, lazy_refcounts: lazy })
  const node = await open(file)
  await node.write(0, pattern(SIZE, random.int(1, 1e6)))
  await node.close()
  for (let index = 90; index < 128; index += random.int(1, 4))
    await compressCluster(file, CLUSTER, index, new Uint8Array(CLUSTER).fill(index))
  for (let i = 0; i < 2; i++) {
    await addSnapshot(file)
    await writeSome(file, random, 0.5)
  }
  expect(await findings(file)).toMatchObject(SOUND)
  return file
}

/** What the disk and its snapshots hold. */
async function contents(file: BlockNode): Promise<Uint8Array[]> {
  const all: Uint8Array[] = []
  for (const bytes of [await toBytes(file), await snapshotBytes(file, 0), await snapshotBytes(file, 1)]) {
    const node = await open(openMemory(bytes), { readOnly: true })
    all.push(await toBytes(node))
    await node.close()
  }
  return all
}

const SEEDS = Array.from({ length: Number(process.env['CRASH_SCALE'] ?? 1) }, (_, i) => i + 1)

describe.each([false, true])('compacting with snapshots, lazy refcounts: %s', (lazy) => {
  test.each(SEEDS)('seed %i', async (seed) => {
    const random = createRandom(seed)
    const image = await made(random, lazy)
    const before = await contents(image)
    const base = new CrashDisk()
    base.write(0, await toBytes(image))
    const disk = base.fork()
    const file = disk.node()
    const { node, log } = await openLogged(file)
    const report = await node.compact()
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
    expect(report).toMatchObject({ sizeAfter: disk.size, leftBytes: 0 })
    expect(disk.size).toBeLessThan(base.size)
    for (const [i, content] of (await contents(file)).entries())
      expect(sameBytes(content, before[i]!), `content ${i}`).toBe(true)

    const plan = { random, moments: 16, disksPerMoment: 5 }
    let states = 0
    for (const { disks, story } of crashStates(new Map([['', base]]), log, plan)) {
      states++
      const left = disks.get('')!.node()
      const found = await findings(left)
      const dirty = found.corruptions > 0 && lazy
      if (!dirty) expect(found, story()).toMatchObject({ corruptions: 0, checkErrors: 0 })
      for (const [i, content] of (await contents(left)).entries())
        expect(sameBytes(content, before[i]!), `content ${i} after ${story()}`).toBe(true)
      const again = await open(left)
      await again.check({ repair: 'all' })
      await again.close()
      expect(await findings(left), story()).toMatchObject(SOUND)
    }
    expect(states).toBeGreaterThan(20)
  })
})
