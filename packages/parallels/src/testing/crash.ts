/** Requests on Parallels images, between which the power goes. */
import type { AnyDriver, RawOptions } from '@vmblock/block-core'
import { type CrashWorkload, randomRequests } from '@vmblock/block-core/testing'
import { parallels } from '../driver.ts'
import { oldParallels } from './images.ts'

const KIB = 1024
const CLUSTER = 4096
/** Images that were not closed say so. */
const allows = { dirty: true } as const
const kinds = { write: 5, fua: 1, cluster: 1, zero: 2, discard: 1, flush: 1 }

const imageOf = (driver: AnyDriver, create: RawOptions, open: RawOptions) => ({
  driver,
  create: { size: 64 * KIB, cluster_size: CLUSTER, ...create },
  open: { 'prealloc-size': 8192, ...open },
})

const alone = (
  name: string,
  create: RawOptions,
  open: RawOptions = {},
  driver: AnyDriver = parallels,
  cluster = CLUSTER,
): CrashWorkload => ({
  name,
  images: { disk: imageOf(driver, create, open) },
  allows,
  run: (scene) => randomRequests(scene, { cluster, kinds }),
})

/** On new images of both kinds, over a backing file, and on one that is opened again. */
export const workloads: CrashWorkload[] = [
  alone('mixed', {}),
  alone('mixed, writethrough', {}, { cache: { writeback: false } }),
  alone('mixed, truncate', {}, { 'prealloc-mode': 'truncate', 'prealloc-size': 65536 }),
  alone('mixed, the BAT counts sectors', { cluster_size: 3584 }, {}, oldParallels, 3584),
  {
    name: 'mixed, over a backing file',
    images: {
      base: imageOf(parallels, {}, {}),
      top: { ...imageOf(parallels, {}, {}), backing: 'base' },
    },
    allows,
    async prepare(scene) {
      const below = scene.guestOf('base')
      await below.reopen({ readOnly: false })
      await below.write(0, below.size)
      await below.reopen({ readOnly: true })
    },
    run: (scene) => randomRequests(scene, { cluster: CLUSTER, kinds }),
  },
  {
    ...alone('opened again', {}),
    async run(scene) {
      await randomRequests(scene, { cluster: CLUSTER, count: 6, kinds: { write: 3, flush: 1 } })
      await scene.restart()
      await randomRequests(scene, { cluster: CLUSTER, count: 6, kinds: { write: 3, flush: 1 } })
      await scene.guest.reopen({ readOnly: true })
      await scene.guest.reopen({ readOnly: false })
      await randomRequests(scene, { cluster: CLUSTER, count: 4, kinds: { write: 3, flush: 1 } })
    },
  },
]
