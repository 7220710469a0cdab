/** Requests on encrypted disks, and changes of key slots, between which the power goes. */
import { type CrashScene, type CrashWorkload, randomRequests } from '@vmblock/block-core/testing'
import { luks } from '../driver.ts'
import { QUICK } from './images.ts'

const IMAGE = {
  driver: luks,
  create: { ...QUICK, size: '32k' },
  key: { 'key-secret': 'one' },
}

/** What was never written is noise, which the rules of all images do not know. */
const filled = async ({ guest }: CrashScene): Promise<void> => {
  await guest.write(0, guest.size)
  await guest.flush()
}

const KINDS = { write: 5, fua: 1, zero: 2, flush: 1 }

/** Each judgement derives keys, which takes long. */
export const workloads: CrashWorkload[] = [
  {
    name: 'requests',
    images: { disk: IMAGE },
    weight: 0.2,
    prepare: filled,
    run: (scene) => randomRequests(scene, { cluster: 4096, kinds: KINDS }),
  },
  {
    name: 'write-through, closed and opened again',
    images: { disk: { ...IMAGE, open: { cache: { writeback: false } } } },
    weight: 0.1,
    prepare: filled,
    async run(scene) {
      await scene.guest.write(4096, 2048)
      await scene.restart()
      await randomRequests(scene, { count: 4, cluster: 4096, kinds: KINDS })
    },
  },
  {
    name: 'key slots',
    images: { disk: IMAGE },
    weight: 0.1,
    prepare: filled,
    async run({ node, guest, random }) {
      // A run that follows a power cut may find the slot in use.
      const force = { checkpoint: () => undefined, report: () => undefined, force: true }
      const keyslot = random.int(1, 8)
      await node.amend({ state: 'active', 'new-secret': 'two', keyslot, 'iter-time': 1 }, force)
      await guest.write(512, 4096)
      await node.amend({ state: 'inactive', keyslot }, force)
    },
  },
]
