/** Power cuts while internal snapshots are made, applied and deleted, between the requests of a guest. */
import { type CrashScene, crashTests, randomRequests } from '@vmblock/block-core/testing'
import { alone, lazily, overlay, snapshots, VARIETIES, type Variety } from '../testing/crash.ts'

const some = (scene: CrashScene): Promise<void> =>
  randomRequests(scene, { count: 3, cluster: scene.node.limits.discardAlignment })

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
    ...KINDS.map((kind) => alone(`snapshots: ${kind}`, covered(VARIETIES[kind]), snapshots(some))),
    alone('snapshots: version 2', { ...VARIETIES['version 2'], allows: { flags: true } }, snapshots(some)),
    alone('snapshots and sizes', covered(VARIETIES['small clusters']), snapshots(some, true)),
    alone('snapshots and sizes: lazy', lazily(eager), snapshots(some, true)),
    overlay('snapshots: overlay', { top: covered(eager), base: BASE }, snapshots(some)),
  ],
  process.env,
)
