/** The crash explorer finds planted bugs in the life of bitmaps. */
import { type PlantedBug, plantedBugTests, randomRequests } from '@vmblock/block-core/testing'
import { vi } from 'vitest'
import { DirtyBitmap } from '../bitmaps/dirty-bitmap.ts'
import { alone, type Operation, VARIETIES } from '../testing/crash.ts'
import { bitmapLife } from '../testing/crash-bitmaps.ts'

/** The name of the planted bug. */
const planted = vi.hoisted(() => ({ bug: '' }))

vi.mock('../bitmaps/directory.ts', async (original) => {
  const real = await original<typeof import('../bitmaps/directory.ts')>()
  const markInUse: typeof real.markInUse = async (image, names) => {
    if (planted.bug === 'not marked') return
    if (planted.bug !== 'not flushed') return real.markInUse(image, names)
    const flush = vi.spyOn(image, 'flushFile').mockResolvedValue()
    await real.markInUse(image, names).finally(() => flush.mockRestore())
  }
  return { ...real, markInUse }
})

vi.mock('../image/write-order.ts', async (original) => {
  const real = await original<typeof import('../image/write-order.ts')>()
  const beforeActivate: typeof real.beforeActivate = async (image) => {
    if (planted.bug !== 'no order') await real.beforeActivate(image)
  }
  return { ...real, beforeActivate }
})

vi.mock('../format/bitmap-layout.ts', async (original) => {
  const real = await original<typeof import('../format/bitmap-layout.ts')>()
  const parseBitmapDirectory: typeof real.parseBitmapDirectory = (...given) =>
    real
      .parseBitmapDirectory(...given)
      .map((entry) =>
        planted.bug === 'not read' ? { ...entry, flags: entry.flags & ~real.BitmapFlag.inUse } : entry,
      )
  return { ...real, parseBitmapDirectory }
})

/** Writes, and the image is closed and opened: no other change of a directory. */
const closing: Operation = {
  ...bitmapLife,
  async run(scene) {
    for (let i = 0; i < 6; i++) {
      await randomRequests(scene, { count: 3, cluster: scene.node.limits.discardAlignment })
      await scene.restart()
    }
  },
}

const { eager } = VARIETIES
const small = VARIETIES['small clusters']
const plant = (bug: string) => () => void Object.assign(planted, { bug })

const BUGS: readonly PlantedBug[] = [
  {
    name: 'bitmaps are not marked before a write',
    rules: ['own rules'],
    workload: alone('bitmaps', eager, bitmapLife),
    plant: plant('not marked'),
  },
  {
    name: 'the mark is not flushed',
    rules: ['own rules'],
    // Clusters that are there are written at once: no other flush comes between.
    workload: alone('bitmaps', VARIETIES.preallocated, bitmapLife),
    plant: plant('not flushed'),
  },
  {
    name: 'the header leads to a directory that is not durable',
    rules: ['own rules', 'opens', 'leaks at most'],
    workload: alone('bitmaps', small, bitmapLife),
    plant: plant('no order'),
  },
  {
    name: 'a closed image leads to bits that are not durable',
    rules: ['own rules', 'opens', 'leaks at most'],
    workload: alone('closing', small, closing),
    plant: plant('no order'),
  },
  {
    name: 'an opening does not see which bitmaps were in use',
    rules: ['own rules'],
    workload: alone('closing', eager, closing),
    plant: plant('not read'),
  },
  {
    name: 'a write is not recorded',
    rules: ['own rules'],
    workload: alone('bitmaps', eager, bitmapLife),
    plant() {
      const { set } = DirtyBitmap.prototype
      let writes = 0
      vi.spyOn(DirtyBitmap.prototype, 'set').mockImplementation(function (this: DirtyBitmap, offset, bytes) {
        if (++writes % 20 !== 0) set.call(this, offset, bytes)
      })
    },
  },
]

plantedBugTests(BUGS, plant(''))
