/** Requests on qcow images, between which the power goes. */
import { type CrashImage, type CrashWorkload, randomRequests } from '@vmblock/block-core/testing'
import { qcow } from '../driver.ts'

const CLUSTER = 4096
/** Guest bytes that one L2 table describes. */
const COVERAGE = 512 * CLUSTER
const KINDS = { write: 5, fua: 1, cluster: 2, zero: 1, flush: 1 }
const COMPRESSED = { ...KINDS, compressed: 4 }

const imageOf = (size: number | string, more: Partial<CrashImage> = {}): CrashImage => ({
  driver: qcow,
  create: { size },
  ...more,
})

const overlay = (name: string, create: CrashImage['create'], key?: CrashImage['key']): CrashWorkload => ({
  name,
  images: {
    base: imageOf('40k'),
    top: {
      ...imageOf('64k'),
      create: { size: '64k', backing_file: 'base', ...create },
      backing: 'base',
      ...(key && { key }),
    },
  },
  async prepare(scene) {
    const below = scene.guestOf('base')
    await below.reopen({ readOnly: false })
    await below.write(0, below.size)
    await below.reopen({ readOnly: true })
  },
  run: (scene) => randomRequests(scene, { cluster: 512, kinds: KINDS }),
})

const AES = { 'encrypt.format': 'aes', 'encrypt.key-secret': 'one' }
const KEY = { 'encrypt.key-secret': 'one' }

/** New images, overlays, encrypted and compressed ones, and some that are closed and opened again. */
export const workloads: CrashWorkload[] = [
  {
    name: 'writes and flushes',
    images: { disk: imageOf('64k') },
    run: (scene) => randomRequests(scene, { cluster: CLUSTER, kinds: KINDS }),
  },
  {
    name: 'two L2 tables',
    images: { disk: imageOf(COVERAGE + 65536) },
    run: (scene) =>
      randomRequests(scene, {
        cluster: CLUSTER,
        kinds: KINDS,
        area: [COVERAGE - 32768, COVERAGE + 65536],
      }),
  },
  {
    name: 'compressed clusters',
    images: { disk: imageOf('64k') },
    run: (scene) => randomRequests(scene, { cluster: CLUSTER, kinds: COMPRESSED }),
  },
  {
    name: 'encrypted',
    images: { disk: { ...imageOf('64k'), create: { size: '64k', ...AES }, key: KEY } },
    run: (scene) => randomRequests(scene, { cluster: CLUSTER, kinds: KINDS }),
  },
  {
    name: 'write-through, closed and opened again',
    images: { disk: imageOf('64k', { open: { cache: { writeback: false } } }) },
    async run(scene) {
      await randomRequests(scene, { count: 5, cluster: CLUSTER, kinds: COMPRESSED })
      await scene.restart()
      await randomRequests(scene, { count: 5, cluster: CLUSTER, kinds: COMPRESSED })
    },
  },
  overlay('overlay', {}),
  overlay('encrypted overlay', AES, KEY),
  {
    ...overlay('commit', {}),
    async run(scene) {
      for (let i = 0; i < 2; i++) {
        await randomRequests(scene, { count: 6, cluster: 512, kinds: KINDS, area: [0, 40960] })
        await scene.guest.commit(scene.guestOf('base'))
      }
    },
  },
]
