/** Power cuts while internal snapshots are made, applied and deleted, between the requests of a guest. */
import { type CrashScene, crashTests, randomRequests } from '@vmblock/block-core/testing'
import { alone, lazily, type Operation, overlay, VARIETIES, type Variety } from '../testing/crash.ts'

const some = (scene: CrashScene, count: number): Promise<void> =>
  randomRequests(scene, { count, cluster: scene.node.limits.discardAlignment })

/** The number of a new name, also after a crash. */
const nextName = ({ guest }: CrashScene): string =>
  `s${1 + Math.max(0, ...guest.snapshotNames.map((name) => Number(name.slice(1))))}`

/** Snapshots come and go while the guest writes. */
const snapshots = (resizes = false): Operation => ({
  async run(scene) {
    const { random, guest } = scene
    for (let i = 0; i < 8; i++) {
      await some(scene, 3)
      const name = guest.snapshotNames.length > 0 ? random.pick(guest.snapshotNames) : undefined
      const kind = name === undefined ? 'create' : random.pick(['create', 'apply', 'apply', 'delete'])
      if (kind === 'create') await guest.createSnapshot(nextName(scene))
      else if (kind === 'apply') await guest.applySnapshot(name!)
      else await guest.deleteSnapshot(name!)
      if (resizes && random.chance(0.4)) await guest.resize(random.int(8, 100) * 1024)
    }
  },
})

/** The bit stands over the change, also in an eager image. */
const covered = (variety: Variety): Variety => ({ ...variety, allows: { ...variety.allows, dirty: true } })

const { eager } = VARIETIES
const BASE: Variety = { create: { cluster_size: 65536, size: 4 * 65536 } }
const KINDS = [
  'eager',
  'lazy',
  'lazy, writethrough',
  'eager, discards passed on',
  'small clusters',
  'lazy, small clusters',
  '64-bit refcounts',
  '64k clusters',
  'subclusters',
  'reserved refcounts',
  'preallocated',
] as const

crashTests(
  'qcow2 snapshots',
  [
    ...KINDS.map((kind) => alone(`snapshots: ${kind}`, covered(VARIETIES[kind]), snapshots())),
    alone('snapshots: version 2', { ...VARIETIES['version 2'], allows: { flags: true } }, snapshots()),
    alone('snapshots and sizes', covered(VARIETIES['small clusters']), snapshots(true)),
    alone('snapshots and sizes: lazy', lazily(eager), snapshots(true)),
    overlay('snapshots: overlay', { top: covered(eager), base: BASE }, snapshots()),
  ],
  process.env,
)
