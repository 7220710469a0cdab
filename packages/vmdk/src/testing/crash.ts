/** Requests on images in the vmdk format, between which the power goes. */
import type { RawOptions } from '@vmblock/block-core'
import { SECTOR, viewOf } from '@vmblock/block-core/driver'
import { type CrashImage, type CrashWorkload, randomRequests } from '@vmblock/block-core/testing'
import { vmdkCreation } from '../create.ts'
import { vmdk } from '../driver.ts'

/** Bytes of a grain. */
const GRAIN = 65536

/** Makes images whose directories are empty, as VMware's programs do: tables are made when they are needed. */
export const lazyVmdk = {
  ...vmdk,
  creation: async () => ({
    ...vmdkCreation,
    async create(context: Parameters<typeof vmdkCreation.create>[0]) {
      await vmdkCreation.create(context)
      const head = new Uint8Array(SECTOR)
      await context.file.read(0, head)
      for (const at of [48, 56]) {
        const directory = viewOf(head).getUint32(at, true) * SECTOR
        await context.file.write(directory, new Uint8Array(SECTOR))
      }
    },
  }),
}

const imageOf = (create: RawOptions = {}, open: RawOptions = {}): CrashImage => ({
  driver: vmdk,
  create: { size: '1M', ...create },
  open,
})

const WRITETHROUGH = { cache: { writeback: false } }
const STREAM = { subformat: 'streamOptimized' }

/** Random requests on one image. */
const alone = (
  name: string,
  image: CrashImage,
  kinds: Parameters<typeof randomRequests>[1]['kinds'],
  more: Partial<CrashWorkload> = {},
): CrashWorkload => ({
  name,
  images: { disk: image },
  run: (scene) => randomRequests(scene, { cluster: GRAIN, ...(kinds && { kinds }) }),
  ...more,
})

/** Random requests over a parent that is full of data. */
const overlay = (name: string, top: CrashImage): CrashWorkload => ({
  name,
  images: { base: imageOf(), top: { ...top, backing: 'base' } },
  async prepare(scene) {
    const below = scene.guestOf('base')
    await below.reopen({ readOnly: false })
    await below.write(0, below.size)
    await below.reopen({ readOnly: true })
  },
  run: (scene) => randomRequests(scene, { cluster: GRAIN }),
})

/** On new images, on those without tables, on streams, over a parent, and on one that is closed and opened again. */
export const workloads: CrashWorkload[] = [
  alone('every request', imageOf(), undefined, { meets: ['l2_update', 'write_aio'] }),
  alone('writes and few flushes', imageOf(), { write: 6, cluster: 2, flush: 1 }),
  alone('writethrough', imageOf({}, WRITETHROUGH), { write: 4, cluster: 2, zero: 1 }),
  alone('zeroed grains', imageOf({ zeroed_grain: true }), undefined),
  alone('on 4k sectors', { ...imageOf(), alignment: 4096 }, undefined),
  alone('a table that is made', { ...imageOf(), driver: lazyVmdk }, { write: 4, cluster: 2, flush: 1 }),
  alone('a stream', imageOf(STREAM), { write: 3, compressed: 3, cluster: 1, zero: 1, flush: 2 }),
  alone('a stream, writethrough', imageOf(STREAM, WRITETHROUGH), { compressed: 2, write: 1 }),
  overlay('over a parent', imageOf()),
  overlay('over a parent, zeroed grains', imageOf({ zeroed_grain: true })),
  {
    name: 'closed and opened again',
    images: { disk: imageOf({}, WRITETHROUGH) },
    async run({ guest, restart }) {
      await guest.write(4096, 2048)
      await restart()
      await guest.write(0, 3 * GRAIN)
      await restart()
      await guest.write(5 * GRAIN, 512)
    },
  },
]
