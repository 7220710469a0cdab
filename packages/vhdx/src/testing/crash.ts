/** Requests on VHDX images, between which the power goes. */
import type { RawOptions } from '@vmblock/block-core'
import {
  type CrashImage,
  type CrashScene,
  type CrashWorkload,
  randomRequests,
} from '@vmblock/block-core/testing'
import { createVhdxDriver } from '../driver.ts'

const MIB = 2 ** 20
const KIB = 1024

/** Bytes of a block. */
export const BLOCK = MIB
/** Bytes that the log of most images here has room for: two entries, so that it is often full. */
export const SHORT_LOG = 2 * 2 * 4096

const short = createVhdxDriver({ logLimit: SHORT_LOG })
const whole = createVhdxDriver()

const imageOf = (create: RawOptions, more: Partial<CrashImage> = {}): CrashImage => ({
  driver: short,
  create: { block_size: BLOCK, size: 3 * BLOCK, ...create },
  ...more,
})

/** Around the borders of blocks, so that a few requests meet all of them, and a state is read quickly. */
const KINDS = { write: 5, fua: 1, zero: 1, flush: 2, discard: 1 }

const some = (scene: CrashScene, count: number): Promise<void> =>
  randomRequests(scene, { count, cluster: 64 * KIB, kinds: KINDS })

/** A few requests, one block after the other, and a flush after most: each is an entry in the log. */
async function fill({ guest, random }: CrashScene, blocks: number): Promise<void> {
  for (let block = 0; block < blocks; block++) {
    await guest.write(block * BLOCK + random.int(0, 8) * 4096, 4096)
    if (random.chance(0.8)) await guest.flush()
  }
}

/** A workload that allocates one block after the other, so that the log is often full. */
export const oneByOne = (name: string, more: Partial<CrashImage> = {}): CrashWorkload => ({
  name,
  images: { disk: imageOf({ size: 8 * BLOCK }, more) },
  run: (scene) => fill(scene, 8),
  meets: ['l1_update', 'l2_update'],
})

const WRITETHROUGH = { cache: { writeback: false } }

/** Every kind of image and of session. */
export const workloads: CrashWorkload[] = [
  { name: 'mixed requests', images: { disk: imageOf({}) }, run: (scene) => some(scene, 12) },
  {
    name: 'mixed requests, log of full size',
    images: { disk: imageOf({}, { driver: whole }) },
    run: (scene) => some(scene, 12),
  },
  {
    name: 'mixed requests, writethrough',
    images: { disk: imageOf({}, { open: WRITETHROUGH }) },
    run: (scene) => some(scene, 10),
  },
  {
    name: 'mixed requests on 4k sectors',
    images: { disk: imageOf({ block_state_zero: 'off' }, { alignment: 4096 }) },
    run: (scene) => some(scene, 12),
  },
  {
    name: 'fixed image',
    images: { disk: imageOf({ subformat: 'fixed' }) },
    run: (scene) => some(scene, 12),
  },
  { ...oneByOne('one block after the other, log often full'), weight: 2 },
  {
    name: 'closed, opened, reopened',
    images: { disk: imageOf({ size: 4 * BLOCK }) },
    async run(scene) {
      const { guest, random } = scene
      for (let i = 0; i < 4; i++) {
        await some(scene, 3)
        if (random.chance(0.4)) await scene.restart()
        else {
          await guest.reopen({ readOnly: true })
          await guest.reopen({ readOnly: false })
        }
      }
    },
  },
  {
    name: 'checked while it is used',
    images: { disk: imageOf({}) },
    async run(scene) {
      for (let i = 0; i < 3; i++) {
        await some(scene, 3)
        await scene.node.check(scene.random.pick([{}, { repair: 'all' }] as const))
      }
    },
  },
]
