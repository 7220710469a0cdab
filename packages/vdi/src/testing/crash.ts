/** Requests on VDI images, between which the power goes. */
import type { RawOptions } from '@vmblock/block-core'
import { type CrashWorkload, randomRequests } from '@vmblock/block-core/testing'
import { smallVdi } from './images.ts'

const KIB = 1024
const BLOCK = 4096

const onDisk = (
  name: string,
  create: RawOptions,
  more: Pick<CrashWorkload, 'run' | 'prepare' | 'weight'>,
  open: RawOptions = {},
): CrashWorkload => ({
  name,
  images: { disk: { driver: smallVdi, create: { size: 64 * KIB, ...create }, open } },
  ...more,
})

const mixed = (cluster: number): Pick<CrashWorkload, 'run'> => ({
  run: (scene) =>
    randomRequests(scene, {
      cluster,
      kinds: { write: 5, fua: 1, cluster: 1, zero: 2, discard: 1, flush: 1 },
    }),
})

/** Writes in places of no order, so that later steps have something to move. */
const scattered: Pick<CrashWorkload, 'prepare'> = {
  async prepare({ guest }) {
    for (const block of [9, 2, 5, 0, 7]) await guest.write(block * BLOCK, BLOCK)
  },
}

/** On new images, dynamic and fixed ones; on those that change their size; on one that is opened again. */
export const workloads: CrashWorkload[] = [
  onDisk('mixed', {}, mixed(BLOCK)),
  onDisk('mixed, writethrough', {}, mixed(BLOCK), { cache: { writeback: false } }),
  onDisk('mixed, small blocks', { block_size: 512 }, mixed(512)),
  onDisk('mixed, fixed', { static: true }, mixed(BLOCK)),
  onDisk(
    'opened again',
    {},
    {
      async run(scene) {
        await randomRequests(scene, { cluster: BLOCK, count: 6, kinds: { write: 3, flush: 1 } })
        await scene.restart()
        await randomRequests(scene, { cluster: BLOCK, count: 6, kinds: { write: 3, flush: 1 } })
      },
    },
  ),
  onDisk(
    'grown inside the map',
    {},
    {
      ...scattered,
      async run(scene) {
        await scene.guest.write(3 * BLOCK, BLOCK)
        await scene.guest.resize(100 * KIB)
        await randomRequests(scene, { cluster: BLOCK, count: 8, kinds: { write: 3, flush: 1 } })
      },
    },
  ),
  ...[false, true].map((isFixed) =>
    onDisk(
      `grown, and the map moves${isFixed ? ', fixed' : ''}`,
      { block_size: 512, static: isFixed },
      {
        ...scattered,
        async run(scene) {
          await scene.guest.write(3 * BLOCK, 2 * BLOCK)
          await scene.guest.resize(66 * KIB)
          await randomRequests(scene, { cluster: 512, count: 8, kinds: { write: 3, flush: 1 } })
          await scene.guest.resize(200 * KIB)
          await randomRequests(scene, { cluster: 512, count: 4, kinds: { write: 3, flush: 1 } })
        },
      },
    ),
  ),
  ...[false, true].map((isFixed) =>
    onDisk(
      `shrunk and grown${isFixed ? ', fixed' : ''}`,
      { static: isFixed },
      {
        ...scattered,
        async run(scene) {
          await scene.guest.write(3 * BLOCK, 2 * BLOCK)
          await scene.guest.resize(21 * KIB)
          await randomRequests(scene, { cluster: BLOCK, count: 4, kinds: { write: 3, flush: 1 } })
          await scene.guest.resize(50 * KIB)
          await randomRequests(scene, { cluster: BLOCK, count: 4, kinds: { write: 3, flush: 1 } })
        },
      },
    ),
  ),
]
