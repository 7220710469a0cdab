/** Power cuts while an encrypted image is written, and while its key slots change. */
import {
  crashTests,
  forgetfulDisk,
  type PlantedBug,
  plantedBugTests,
  randomRequests,
} from '@vmblock/block-core/testing'
import { vi } from 'vitest'
import { EncryptedStore } from '../encryption/encrypted-store.ts'
import {
  alone,
  CLUSTER,
  type Operation,
  onEach,
  overlay,
  VARIETIES,
  type Variety,
  WITH_SLOTS,
} from '../testing/crash.ts'

const encrypted = VARIETIES.encrypted

const mixed: Operation = {
  run: (scene) => randomRequests(scene, { cluster: scene.node.limits.discardAlignment }),
}

/** Clusters change their places all the time: each copy is encrypted anew. */
const reuse: Operation = {
  run: (scene) =>
    randomRequests(scene, {
      cluster: CLUSTER,
      area: [0, 16 * CLUSTER],
      kinds: { cluster: 3, write: 2, discard: 4, flush: 1 },
    }),
}

const resize: Operation = {
  async run(scene) {
    const { random, guest } = scene
    for (let i = 0; i < 4; i++) {
      await randomRequests(scene, { count: 4, cluster: CLUSTER })
      const size = random.int(1, 320) * 512
      const isLarger = size > guest.size && random.chance(0.5)
      await guest.resize(size, isLarger ? { preallocation: random.pick(['metadata', 'full'] as const) } : {})
    }
  },
}

/** The key that opens the image stays; others come and go. Each judgement derives it, which takes long. */
const slots: Operation = {
  weight: 0.3,
  async run(scene) {
    const { random, node } = scene
    const quick = { 'encrypt.iter-time': 1 }
    // A run that follows a power cut may find the slot in use.
    const force = { checkpoint: () => undefined, report: () => undefined, force: true }
    const slot = random.int(1, 8)
    await randomRequests(scene, { count: 2, cluster: 65536 })
    const add = {
      'encrypt.state': 'active',
      'encrypt.new-secret': 'other',
      'encrypt.keyslot': slot,
      ...quick,
    }
    await node.amend(add, force)
    await randomRequests(scene, { count: 2, cluster: 65536 })
    if (random.chance(0.5)) await node.amend({ 'encrypt.state': 'inactive', 'encrypt.keyslot': slot })
    else await node.amend(add, force)
  },
}

/** Whether the slots are being changed: a planted bug concerns these flushes alone. */
const changing = { isOn: false }

/** The key that opens the image is replaced, by one of the same passphrase: it opens the image at every moment. */
const ownKey: Operation = {
  weight: 0.1,
  async run(scene) {
    const force = { checkpoint: () => undefined, report: () => undefined, force: true }
    const replace = {
      'encrypt.state': 'active',
      'encrypt.new-secret': 'one',
      'encrypt.keyslot': 0,
      'encrypt.iter-time': 1,
    }
    await randomRequests(scene, { count: 2, cluster: 65536 })
    changing.isOn = true
    await scene.node.amend(replace, force).finally(() => {
      changing.isOn = false
    })
    await randomRequests(scene, { count: 2, cluster: 65536 })
  },
}

const FORGETFUL: Variety = {
  ...WITH_SLOTS,
  image: { ...WITH_SLOTS.image, filter: forgetfulDisk({ flush: () => changing.isOn }) },
}

crashTests(
  'qcow2 encryption',
  [
    ...onEach('mixed', ['encrypted', 'encrypted, preallocated', 'encrypted, data file'], mixed),
    ...onEach(
      'reuse',
      ['encrypted', 'encrypted, lazy', 'encrypted, subclusters', 'encrypted, version 2'],
      reuse,
    ),
    alone('resize: encrypted', encrypted, resize),
    overlay('mixed: encrypted overlay', { top: encrypted, base: encrypted }, mixed),
    alone('key slots', WITH_SLOTS, slots),
    alone('the key in use is replaced', WITH_SLOTS, ownKey),
  ],
  process.env,
)

const BUGS: readonly PlantedBug[] = [
  {
    name: 'clusters that were never written count as zeroes',
    rules: ['reads back', 'intact', 'next write'],
    workload: alone('reuse', encrypted, reuse),
    plant() {
      const { allocate } = EncryptedStore.prototype
      vi.spyOn(EncryptedStore.prototype, 'allocate').mockImplementation(function (
        this: EncryptedStore,
        ...where
      ) {
        const allocated = allocate.apply(this, where)
        return allocated instanceof Promise
          ? allocated.then(({ offset }) => ({ offset, zeroed: true }))
          : { ...allocated, zeroed: true }
      })
    },
  },
  {
    name: 'a key is erased before the new one is durable',
    rules: ['opens'],
    workload: alone('the key in use is replaced', FORGETFUL, ownKey),
  },
]

plantedBugTests(BUGS)
