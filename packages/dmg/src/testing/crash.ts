/** Requests on images in the dmg format, between which the power goes. */
import { type CrashWorkload, randomRequests } from '@vmblock/block-core/testing'
import { dmg } from '../driver.ts'

/** On new images, and on one that is closed and opened again. */
export const workloads: CrashWorkload[] = [
  {
    name: 'writes and flushes',
    images: { disk: { driver: dmg, create: { size: '64k' } } },
    run: (scene) => randomRequests(scene, { cluster: 4096, kinds: { write: 4, cluster: 2, flush: 2 } }),
  },
  {
    name: 'closed and opened again',
    images: { disk: { driver: dmg, create: { size: '64k' }, open: { cache: { writeback: false } } } },
    async run({ guest, restart }) {
      await guest.write(4096, 2048)
      await restart()
      await guest.write(0, 8192)
    },
  },
]
