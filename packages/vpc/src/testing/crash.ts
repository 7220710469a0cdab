/** Requests on VHD images, between which the power goes. */
import type { AnyDriver, RawOptions } from '@vmblock/block-core'
import { type CrashScene, type CrashWorkload, randomRequests } from '@vmblock/block-core/testing'
import { vpc } from '../driver.ts'

/** Bytes of a block in most images here. */
export const BLOCK = 8192
/** Bytes of the disks. */
const SIZE = 12 * BLOCK

/** Options of creation, by kind of image. */
export const KINDS = {
  fixed: { subformat: 'fixed', force_size: true, size: SIZE },
  dynamic: { force_size: true, block_size: BLOCK, size: SIZE },
  differencing: { subformat: 'differencing', block_size: BLOCK, size: SIZE },
} satisfies Readonly<Record<string, RawOptions>>

type Kind = keyof typeof KINDS

const some = (scene: CrashScene, count: number): Promise<void> =>
  randomRequests(scene, {
    cluster: BLOCK,
    count,
    kinds: { write: 5, fua: 1, cluster: 1, zero: 2, flush: 2 },
  })

/** The steps of a workload. */
export type Steps = Pick<CrashWorkload, 'prepare' | 'run' | 'inspect'>

/** Requests alone. */
export const mixed: Steps = { run: (scene) => some(scene, 25) }

const again: Steps = {
  async run(scene) {
    for (let i = 0; i < 4; i++) {
      await some(scene, 5)
      if (scene.random.chance(0.5)) await scene.restart()
      else {
        await scene.guest.reopen({ readOnly: true })
        await scene.guest.reopen({ readOnly: false })
      }
    }
  },
}

/** The disk grows, in dynamic images past the first sector of the table. */
const growing: Steps = {
  async run(scene) {
    const { guest, random } = scene
    for (let i = 0; i < 4; i++) {
      await some(scene, 4)
      await guest.resize(guest.size + (i === 2 ? 140 * BLOCK : random.int(1, 48) * 512))
    }
  },
}

/** A workload on an image that stands alone. */
export const alone = (
  name: string,
  kind: Kind,
  steps: Steps,
  more: { readonly open?: RawOptions; readonly filter?: AnyDriver } = {},
): CrashWorkload => ({
  name: `${name}: ${kind}`,
  images: { disk: { driver: vpc, create: KINDS[kind], ...more } },
  ...steps,
})

/** A workload on a differencing image over a full one. */
export const overlay = (name: string, steps: Steps, filter?: AnyDriver): CrashWorkload => ({
  name: `${name}: differencing`,
  images: {
    base: { driver: vpc, create: KINDS.dynamic },
    top: { driver: vpc, create: KINDS.differencing, backing: 'base', ...(filter && { filter }) },
  },
  ...steps,
  async prepare(scene) {
    const below = scene.guestOf('base')
    await below.reopen({ readOnly: false })
    await below.write(0, below.size)
    await below.reopen({ readOnly: true })
  },
})

/** Every zero and every byte as it was is to be there: `commit` moves data down. */
const committing: Steps = {
  async run(scene) {
    await some(scene, 8)
    await scene.guest.commit(scene.guestOf('base'))
    await some(scene, 4)
  },
}

const WRITETHROUGH = { open: { cache: { writeback: false } } }

/** On images of all kinds. */
export const workloads: CrashWorkload[] = [
  alone('mixed', 'fixed', mixed),
  alone('mixed', 'dynamic', mixed),
  alone('writethrough', 'dynamic', mixed, WRITETHROUGH),
  overlay('mixed', mixed),
  alone('again', 'dynamic', again),
  overlay('again', again),
  alone('growing', 'fixed', growing),
  alone('growing', 'dynamic', growing),
  overlay('growing', growing),
  overlay('committing', committing),
]
