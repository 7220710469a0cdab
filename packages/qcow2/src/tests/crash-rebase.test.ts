/** Power cuts while an overlay gets another backing file: it shows the same, with the old one or with the new one. */
import {
  type CrashScene,
  type CrashWorkload,
  crashTests,
  plantedBugTests,
  randomRequests,
} from '@vmblock/block-core/testing'
import { vi } from 'vitest'
import { qcow2 } from '../driver.ts'
import { lazily, SIZE, VARIETIES, type Variety } from '../testing/crash.ts'

const planted = vi.hoisted(() => ({ isPlanted: false }))

vi.mock('../requests/flush.ts', async (original) => {
  const real = await original<typeof import('../requests/flush.ts')>()
  const flushImage: typeof real.flushImage = async (image) => {
    if (!planted.isPlanted) await real.flushImage(image)
  }
  return { ...real, flushImage }
})

const SECTOR = 512

/** Writes data to parts of an image below. */
async function fill({ guestOf, random }: CrashScene, name: string, count: number): Promise<void> {
  const below = guestOf(name)
  await below.reopen({ readOnly: false })
  for (let i = 0; i < count; i++) {
    const offset = random.int(0, below.size / SECTOR) * SECTOR
    await below.write(offset, Math.min(random.int(1, 48) * SECTOR, below.size - offset))
  }
  await below.reopen({ readOnly: true })
}

const imageOf = ({ create, open, image }: Variety) => ({
  driver: qcow2,
  create,
  ...(open && { open }),
  ...image,
})

/** An overlay on an overlay of a base: it is put onto the base, onto nothing, and back onto the one in between. */
const rebasing = (name: string, top: Variety, below: Variety, requests = true): CrashWorkload => {
  const { create, ...rest } = imageOf(top)
  return {
    name,
    images: {
      base: { driver: qcow2, create: { cluster_size: 65536, size: SIZE } },
      middle: { ...imageOf(below), backing: 'base' },
      top: {
        ...rest,
        create: { ...create, backing_file: 'middle', backing_fmt: 'qcow2' },
        backing: 'middle',
        mayName: ['middle', 'base'],
      },
    },
    allows: { ...below.allows, ...top.allows },
    async prepare(scene) {
      await fill(scene, 'base', 4)
      await fill(scene, 'middle', 6)
    },
    async run(scene) {
      const { guest, random, node } = scene
      const some = (): Promise<void> =>
        randomRequests(scene, { count: 3, cluster: node.limits.discardAlignment })
      if (requests) await some()
      for (const filename of random.pick([
        ['base'],
        ['base', null],
        [null, 'middle'],
        [null, 'base', 'middle'],
      ])) {
        await guest.rebase(filename)
        if (requests) await some()
      }
    },
  }
}

const { eager, lazy, subclusters } = VARIETIES

crashTests(
  'another backing file',
  [
    rebasing('eager', eager, VARIETIES['small clusters']),
    rebasing('lazy', lazy, eager),
    rebasing('version 2', VARIETIES['version 2'], eager),
    rebasing('subclusters', subclusters, { create: { cluster_size: 65536, size: 8 * 16384 } }),
    rebasing('data file', VARIETIES['data file'], eager),
    rebasing('lazy subclusters', lazily(subclusters), { create: { cluster_size: 65536, size: 8 * 16384 } }),
  ],
  process.env,
)

plantedBugTests(
  [
    {
      name: 'the header names the new backing file before the data is durable',
      rules: ['reads back', 'leaks at most'],
      workload: rebasing('planted', eager, eager, false),
      plant() {
        planted.isPlanted = true
      },
    },
  ],
  () => {
    planted.isPlanted = false
  },
)
