/** The crash explorer finds planted bugs: each of these breaks a rule within a few hundred power cuts. */
import { TableCache } from '@vmblock/block-core/driver'
import {
  type Change,
  type Forgets,
  forgetfulDisk,
  type PlantedBug,
  plantedBugTests,
  randomRequests,
} from '@vmblock/block-core/testing'
import { vi } from 'vitest'
import { HEADER_BYTES } from './format/header.ts'
import { Image } from './image.ts'
import { alone, CLUSTER, clock, type Operation, overlay, VARIETIES, type Variety } from './testing/crash.ts'

const mixed: Operation = {
  run: (scene) =>
    randomRequests(scene, {
      cluster: CLUSTER,
      kinds: { write: 5, cluster: 1, zero: 2, flush: 1 },
      between: () => (scene.random.chance(0.4) ? clock.elapse() : undefined),
    }),
}

const small = VARIETIES['4k clusters']
const on = (forgets: Forgets): Variety => ({ ...small, filter: forgetfulDisk(forgets) })

/** The whole header is written, as when the need-check bit is set. */
const isHeader = ({ offset, bytes }: Change): boolean => offset === 0 && bytes === HEADER_BYTES
/** A new L2 table consists of zeroes. */
const isNewTable = ({ offset, bytes }: Change): boolean => offset > 0 && bytes === CLUSTER

const BUGS: readonly PlantedBug[] = [
  {
    name: 'the need-check bit is set, and not flushed',
    rules: ['dirty bit'],
    workload: alone('mixed', on({ flush: (changes) => changes.slice(-1).some(isHeader) }), mixed),
  },
  {
    name: 'the need-check bit is set after the entries that need it were written',
    rules: ['dirty bit'],
    workload: alone('mixed', small, mixed),
    plant() {
      const { beforeLink, writeTables } = Image.prototype
      vi.spyOn(Image.prototype, 'beforeLink').mockResolvedValue()
      vi.spyOn(Image.prototype, 'writeTables').mockImplementation(async function (this: Image) {
        const isDirty = this.l2Tables.isDirty
        await writeTables.call(this)
        if (isDirty) await beforeLink.call(this)
      })
    },
  },
  {
    name: 'the need-check bit is cleared before everything is durable',
    rules: ['dirty bit', 'clean'],
    workload: alone('mixed', small, mixed),
    plant() {
      const { markClean, flushFile } = Image.prototype
      vi.spyOn(Image.prototype, 'markClean').mockImplementation(async function (this: Image) {
        this.flushFile = async () => undefined
        await markClean.call(this)
        this.flushFile = flushFile
      })
    },
  },
  {
    name: 'the L1 entry does not wait for its table',
    rules: ['dirty bit', 'reads back'],
    workload: alone('mixed', on({ flush: (changes) => changes.slice(-1).some(isNewTable) }), mixed),
  },
  {
    name: 'an entry over a backing file does not wait for the data',
    rules: ['leaks at most', 'reads back'],
    workload: overlay('mixed', small, small, mixed),
    plant: () => void vi.spyOn(TableCache.prototype, 'followData').mockReturnValue(),
  },
  {
    name: 'a flush of the guest does not reach the disk',
    rules: ['reads back', 'dirty bit'],
    workload: alone('mixed', on({ flush: (_, step) => step === 'l2_update' }), mixed),
  },
]

plantedBugTests(BUGS)
