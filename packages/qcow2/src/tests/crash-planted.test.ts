/** The crash explorer finds planted bugs: each of these breaks a rule within a few hundred power cuts. */
import { reopenNode } from '@vmblock/block-core'
import { TableCache } from '@vmblock/block-core/driver'
import {
  type Change,
  type CrashScene,
  type Forgets,
  forgetfulDisk,
  type PlantedBug,
  plantedBugTests,
  randomRequests,
  toBytes,
} from '@vmblock/block-core/testing'
import { vi } from 'vitest'
import { DecompressedClusters } from '../image/decompressed-clusters.ts'
import { FileLength } from '../image/file-length.ts'
import { Image } from '../image/image.ts'
import { addToRefcounts } from '../refcounts/refcounts.ts'
import {
  alone,
  CLUSTER,
  type Operation,
  overlay,
  SIZE,
  snapshots,
  VARIETIES,
  type Variety,
} from '../testing/crash.ts'

/** The name of the planted bug, and whether a check or an amendment is running. */
const planted = vi.hoisted(() => ({ bug: '', isChecking: false, isAmending: false }))

vi.mock('../image/write-order.ts', async (original) => {
  const real = await original<typeof import('../image/write-order.ts')>()
  const unless =
    <A extends unknown[]>(bug: string, rule: (...args: A) => Promise<void>) =>
    (...args: A): Promise<void> =>
      planted.bug === bug ? Promise.resolve() : rule(...args)
  return {
    ...real,
    beforeClean: unless('no quiescing', real.beforeClean),
    beforeLink: (...[image, hostEnd, dataFirst, replaces]: Parameters<typeof real.beforeLink>) =>
      real.beforeLink(
        image,
        hostEnd,
        dataFirst,
        replaces && planted.bug !== 'whole clusters are not ordered',
      ),
    beforeActivate: (...given: Parameters<typeof real.beforeActivate>) =>
      ['early switch', 'copies are not flushed'].includes(planted.bug)
        ? Promise.resolve()
        : real.beforeActivate(...given),
  }
})

vi.mock('../snapshots/copied-flags.ts', async (original) => {
  const real = await original<typeof import('../snapshots/copied-flags.ts')>()
  const clearCopied: typeof real.clearCopied = async (image, l1) => {
    if (planted.bug !== 'shared in place') await real.clearCopied(image, l1)
  }
  return { ...real, clearCopied }
})

vi.mock('../requests/flush.ts', async (original) => {
  const real = await original<typeof import('../requests/flush.ts')>()
  const quiesceImage: typeof real.quiesceImage = async (image) => {
    if (planted.bug === 'no quiescing') await real.flushImage(image)
    else if (planted.bug !== 'zeroes are not durable' || !planted.isAmending) await real.quiesceImage(image)
  }
  const flushImage: typeof real.flushImage = async (image) => {
    if (planted.bug !== 'new entries are not flushed') return real.flushImage(image)
    await image.lock.run(async () => {
      await image.l2Tables.writeBack()
      image.frees.becameDurable(image.frees.take())
      await (await import('../refcounts/allocate.ts')).applyFrees(image)
      await image.refblocks.writeBack()
    })
  }
  return { ...real, quiesceImage, flushImage }
})

vi.mock('../refcounts/allocate.ts', async (original) => {
  const real = await original<typeof import('../refcounts/allocate.ts')>()
  const allocateClusters: typeof real.allocateClusters = async (image, count) => {
    if (planted.bug === 'early reuse') {
      image.frees.becameDurable(image.frees.take())
      await real.applyFrees(image)
    }
    return real.allocateClusters(image, count)
  }
  return { ...real, allocateClusters }
})

vi.mock('../compression/packing.ts', async (original) => {
  const real = await original<typeof import('../compression/packing.ts')>()
  const allocateBytes: typeof real.allocateBytes = async (image, bytes) => {
    const open = image.decompressed.nextPlace
    const host = await real.allocateBytes(image, bytes)
    if (planted.bug === 'uncounted streams' && host === open)
      await addToRefcounts(image, Math.floor(host / CLUSTER), 1, -1)
    return host
  }
  return { ...real, allocateBytes }
})

vi.mock('../check/check.ts', async (original) => {
  const real = await original<typeof import('../check/check.ts')>()
  const checkImage: typeof real.checkImage = (...args) => {
    planted.isChecking = true
    return real.checkImage(...args).finally(() => {
      planted.isChecking = false
    })
  }
  return { ...real, checkImage }
})

vi.mock('../../../block-core/src/jobs/commit.ts', async (original) => {
  const real = await original<typeof import('../../../block-core/src/jobs/commit.ts')>()
  const commitNode: typeof real.commitNode = async (top, options = {}) => {
    if (planted.bug !== 'no flush of the base') return real.commitNode(top, options)
    const base = options.base!
    await reopenNode(base, { readOnly: false })
    await base.write(0, await toBytes(top))
    await top.makeEmpty()
    await reopenNode(base, { readOnly: true })
  }
  return { ...real, commitNode }
})

const mixed: Operation = {
  run: (scene) => randomRequests(scene, { cluster: scene.node.limits.discardAlignment }),
}
const reuse: Operation = {
  run: (scene) =>
    randomRequests(scene, {
      cluster: CLUSTER,
      area: [0, 16 * CLUSTER],
      kinds: { cluster: 4, discard: 4, flush: 1 },
    }),
}
const compressed: Operation = {
  run: (scene) =>
    randomRequests(scene, {
      cluster: CLUSTER,
      area: [0, 16 * CLUSTER],
      kinds: { compressed: 6, discard: 3, cluster: 1, flush: 2 },
    }),
}
/** So few that a host cluster of compressed ones becomes free now and then. */
const fewCompressed: Operation = {
  run: (scene) =>
    randomRequests(scene, {
      cluster: CLUSTER,
      area: [0, 4 * CLUSTER],
      kinds: { compressed: 4, discard: 6, cluster: 3, flush: 4 },
    }),
}
const commit: Operation = {
  async run(scene) {
    await randomRequests(scene, { count: 8, cluster: CLUSTER })
    await scene.guest.commit(scene.guestOf('base'))
  },
}

const compact: Operation = {
  prepare: ({ guest }) => guest.write(0, guest.size),
  async run({ guest, node, random }) {
    for (let at = 0; at + CLUSTER <= guest.size; at += CLUSTER * random.int(1, 4))
      await guest.discard(at, CLUSTER)
    await guest.flush()
    await node.compact()
  },
}

const widths: Operation = {
  async run({ guest, node }) {
    await guest.write(0, guest.size / 2)
    for (const bits of [8, 64, 1]) await node.amend({ refcount_bits: bits })
  },
}

/** Zeroes become unallocated, since version 2 has no flag for them. */
const downgrade: Operation = {
  async run({ guest, node, random }) {
    await guest.write(0, guest.size / 2)
    for (let at = 0; at + CLUSTER <= guest.size; at += CLUSTER * random.int(2, 6))
      await guest.zero(at, CLUSTER, false)
    await guest.flush()
    planted.isAmending = true
    await node.amend({ compat: '0.10' }).finally(() => {
      planted.isAmending = false
    })
  },
}

const { eager, lazy } = VARIETIES
const on = (variety: Variety, forgets: Forgets): Variety => ({
  ...variety,
  image: { ...variety.image, filter: forgetfulDisk(forgets) },
})
const LAZY_TOP: Variety = {
  create: { cluster_size: CLUSTER, size: SIZE, lazy_refcounts: 'on' },
  allows: { dirty: true },
}
const BASE: Variety = { create: { cluster_size: 65536, size: SIZE } }
const EMPTIED: Variety = { ...eager, allows: { dirty: true } }

const some = (scene: CrashScene): Promise<void> => randomRequests(scene, { count: 3, cluster: CLUSTER })
const saving = snapshots(some)
const creating: Operation = {
  async run(scene) {
    for (let i = 0; i < 6; i++) {
      await some(scene)
      await scene.guest.createSnapshot(`s${scene.guest.snapshotNames.length + 1}`)
    }
  },
}
/** With snapshots of half a disk, of which some clusters differ from those of the next. */
const SAVED = ['s1', 's2', 's3', 's4', 's5'] as const
async function save({ guest }: CrashScene): Promise<void> {
  await guest.write(0, guest.size / 2)
  for (const name of SAVED) {
    await guest.write(0, 8 * CLUSTER)
    await guest.createSnapshot(name)
  }
}
const applying: Operation = {
  prepare: save,
  async run(scene) {
    for (const name of SAVED) {
      await scene.guest.applySnapshot(name)
      await some(scene)
    }
  },
}
const deleting: Operation = {
  prepare: save,
  async run(scene) {
    for (const name of SAVED) {
      if (scene.guest.snapshotNames.includes(name)) await scene.guest.deleteSnapshot(name)
      await some(scene)
    }
  },
}
/** Without a dirty bit, which would have the refcounts repaired. */
const VERSION_2: Variety = { ...VARIETIES['version 2'], allows: { flags: true } }

/** The words of the header that lead to the snapshots, or to the L1 table of the disk. */
const isSwitch = ({ offset, bytes }: Change): boolean => offset === 60 || (offset === 24 && bytes === 24)

/** The incompatible features word of the header, which has the dirty bit. */
const isDirtyBit = ({ offset, bytes }: Change): boolean => offset === 72 && bytes === 8

const BUGS: readonly PlantedBug[] = [
  {
    name: 'L2 entries do not wait for refcounts',
    rules: ['leaks at most'],
    workload: alone('mixed', eager, mixed),
    plant: () => void vi.spyOn(TableCache.prototype, 'follow').mockResolvedValue(),
  },
  {
    name: 'L2 entries do not wait for copies of old data',
    rules: ['reads back'],
    workload: overlay('mixed', { top: LAZY_TOP, base: BASE }, mixed),
    plant: () => void vi.spyOn(TableCache.prototype, 'followData').mockReturnValue(),
  },
  {
    name: 'L2 entries do not wait for data that replaces what the backing file shows',
    rules: ['reads back'],
    workload: overlay('mixed', { top: LAZY_TOP, base: BASE }, mixed),
    plant: () => void Object.assign(planted, { bug: 'whole clusters are not ordered' }),
  },
  {
    name: 'L1 entries do not wait for their tables',
    rules: ['leaks at most', 'opens', 'reads back'],
    workload: alone('mixed', eager, mixed),
    plant() {
      const { l1Changed } = Image.prototype
      vi.spyOn(Image.prototype, 'l1Changed').mockImplementation(function (this: Image, index) {
        l1Changed.call(this, index)
        void this.writeNewTables()
      })
    },
  },
  {
    name: 'refcount table entries do not wait for their blocks',
    rules: ['leaks at most', 'opens'],
    workload: alone(
      'mixed',
      on(VARIETIES['64-bit refcounts'], { flush: (_, step) => step === 'refblock_alloc_write' }),
      mixed,
    ),
  },
  {
    name: 'the dirty bit is set, and not flushed',
    // Without a repair, the next session takes clusters that are in use, and the guest loses what they hold.
    rules: ['dirty bit', 'repair', 'reads back'],
    // Not before entries that need the bit were written, and no flush that the guest waits for.
    workload: alone(
      'mixed',
      on(lazy, {
        flush: (changes, step) => changes.some(isDirtyBit) && step !== 'l2_update' && step !== 'flush_to_os',
      }),
      mixed,
    ),
  },
  {
    name: 'the dirty bit is cleared before refcounts are durable',
    rules: ['dirty bit', 'clean'],
    workload: alone('mixed', lazy, mixed),
    plant: () => void Object.assign(planted, { bug: 'no quiescing' }),
  },
  {
    name: 'a repair clears the dirty bit before refcounts are durable',
    rules: ['dirty bit'],
    workload: alone('mixed', lazy, mixed),
    plant() {
      const { flushFile } = Image.prototype
      vi.spyOn(Image.prototype, 'flushFile').mockImplementation(async function (this: Image) {
        if (!planted.isChecking) await flushFile.call(this)
      })
    },
  },
  {
    name: 'lazy entries lead past the end of the file',
    rules: ['repair'],
    workload: alone('mixed', lazy, mixed),
    plant() {
      vi.spyOn(FileLength.prototype, 'isCovered').mockReturnValue(true)
      vi.spyOn(FileLength.prototype, 'reach').mockResolvedValue(true)
    },
  },
  {
    name: 'clusters are reused before the entry that led there is durable',
    rules: ['reads back', 'leaks at most'],
    workload: alone('reuse', eager, reuse),
    plant: () => void Object.assign(planted, { bug: 'early reuse' }),
  },
  {
    name: 'entries of compressed clusters do not wait for their data',
    rules: ['reads back', 'opens'],
    workload: alone('compressed', lazy, fewCompressed),
    plant: () => void vi.spyOn(TableCache.prototype, 'followData').mockReturnValue(),
  },
  {
    name: 'the second compressed cluster in a host cluster is not counted',
    rules: ['leaks at most', 'reads back', 'opens'],
    workload: alone('compressed', eager, compressed),
    plant: () => void Object.assign(planted, { bug: 'uncounted streams' }),
  },
  {
    name: 'compressed clusters go on in a host cluster that became free',
    rules: ['leaks at most', 'reads back'],
    workload: alone('compressed', eager, fewCompressed),
    plant() {
      vi.spyOn(DecompressedClusters.prototype, 'forget').mockReturnValue()
    },
  },
  {
    name: 'a flush of the guest does not reach the disk',
    rules: ['reads back'],
    workload: alone(
      'mixed',
      on(VARIETIES.preallocated, { flush: (_, step) => step === 'flush_to_os' }),
      mixed,
    ),
  },
  {
    name: 'the header leads to a new snapshot before its references are counted',
    rules: ['leaks at most', 'opens', 'reads back', 'repair'],
    workload: alone('creating', VERSION_2, creating),
    plant: () => void Object.assign(planted, { bug: 'early switch' }),
  },
  {
    name: 'the header leads to an applied snapshot before its references are counted',
    rules: ['leaks at most', 'opens', 'reads back', 'repair'],
    workload: alone('applying', VERSION_2, applying),
    plant: () => void Object.assign(planted, { bug: 'early switch' }),
  },
  {
    name: 'the header leads to a table of snapshots, less one, that is not durable',
    rules: ['leaks at most', 'opens', 'reads back', 'repair'],
    workload: alone('deleting', VERSION_2, deleting),
    plant: () => void Object.assign(planted, { bug: 'early switch' }),
  },
  {
    name: 'what an applied snapshot replaces is freed before the header is durable',
    rules: ['leaks at most', 'reads back', 'opens'],
    workload: alone('applying', on(VERSION_2, { flush: (changes) => changes.some(isSwitch) }), applying),
  },
  {
    name: 'what a deleted snapshot leaves is freed before the header is durable',
    rules: ['leaks at most', 'reads back', 'opens'],
    workload: alone('deleting', on(VERSION_2, { flush: (changes) => changes.some(isSwitch) }), deleting),
  },
  {
    name: 'the disk writes into clusters of a snapshot',
    rules: ['dirty bit', 'reads back'],
    workload: alone('snapshots', { ...eager, allows: { dirty: true } }, saving),
    plant: () => void Object.assign(planted, { bug: 'shared in place' }),
  },
  {
    name: 'compacting: entries lead to copies before these are durable',
    rules: ['reads back', 'leaks at most'],
    workload: alone('compact', eager, compact),
    plant: () => void Object.assign(planted, { bug: 'copies are not flushed' }),
  },
  {
    name: 'compacting: clusters are free before the new entries are durable',
    rules: ['reads back', 'leaks at most'],
    workload: alone('compact', eager, compact),
    plant: () => void Object.assign(planted, { bug: 'new entries are not flushed' }),
  },
  {
    name: 'the header leads to refcounts of another width before these are durable',
    rules: ['leaks at most', 'opens', 'reads back'],
    workload: alone(
      'widths',
      on(eager, { flush: (_, step) => step === 'refblock_alloc_write_table' }),
      widths,
    ),
  },
  {
    name: 'the header says version 2 before zero clusters are turned into others',
    rules: ['leaks at most', 'opens', 'reads back'],
    workload: alone('downgrade', { ...eager, allows: { dirty: true } }, downgrade),
    plant: () => void Object.assign(planted, { bug: 'zeroes are not durable' }),
  },
  {
    name: 'an overlay is emptied before its base has the data',
    rules: ['reads back'],
    workload: overlay('commit', { top: EMPTIED, base: eager }, commit),
    plant: () => void Object.assign(planted, { bug: 'no flush of the base' }),
  },
]

plantedBugTests(BUGS, () => Object.assign(planted, { bug: '' }))
