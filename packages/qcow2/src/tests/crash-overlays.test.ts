/** Power cuts in overlays: copy on write, commits, and emptying. */
import { type CrashScene, crashTests, randomRequests } from '@vmblock/block-core/testing'
import {
  alone,
  lazily,
  type Operation,
  type Overlay,
  overlay,
  SIZE,
  VARIETIES,
  type Variety,
} from '../testing/crash.ts'

const SECTOR = 512

/** A base that is read quickly, with few clusters. */
const ONE_CLUSTER: Variety = { create: { cluster_size: 65536, size: SIZE } }
const BELOW_DIVIDED: Variety = { create: { cluster_size: 65536, size: 8 * 16384 } }
/** A base that is shorter than the disk above it. */
const SHORTER: Variety = { create: { cluster_size: 4096, size: 88 * 1024 } }
/** A cluster is as large as a sector, so nothing is copied. */
const small = VARIETIES['small clusters']

const mixed: Operation = {
  run: (scene) => randomRequests(scene, { cluster: scene.node.limits.discardAlignment }),
}

const { eager, lazy } = VARIETIES
const TOPS: Readonly<Record<string, Overlay>> = {
  eager: { top: eager, base: ONE_CLUSTER },
  'eager, writethrough': { top: VARIETIES['eager, writethrough'], base: ONE_CLUSTER },
  'eager, directsync on 4k sectors': { top: VARIETIES['eager, directsync on 4k sectors'], base: ONE_CLUSTER },
  'small clusters': { top: small, base: ONE_CLUSTER },
  'version 2': { top: VARIETIES['version 2'], base: ONE_CLUSTER },
  subclusters: { top: VARIETIES.subclusters, base: BELOW_DIVIDED },
  'data file': { top: VARIETIES['data file'], base: ONE_CLUSTER },
  'longer than its base': { top: eager, base: SHORTER },
  lazy: { top: lazily(eager), base: ONE_CLUSTER },
  'lazy, writethrough': { top: lazily(VARIETIES['eager, writethrough']), base: ONE_CLUSTER },
  'lazy, small clusters': { top: lazily(small), base: ONE_CLUSTER },
  'lazy, subclusters': { top: lazily(VARIETIES.subclusters), base: BELOW_DIVIDED },
  'lazy, data file': { top: lazily(VARIETIES['data file']), base: ONE_CLUSTER },
}

/** Writes data to parts of the base. */
const fill = async ({ guestOf, random }: CrashScene): Promise<void> => {
  const base = guestOf('base')
  for (let i = 0; i < 6; i++) {
    const offset = random.int(0, base.size / SECTOR) * SECTOR
    await base.write(offset, Math.min(random.int(1, 48) * SECTOR, base.size - offset))
  }
}

const some = (scene: CrashScene, count: number): Promise<void> =>
  randomRequests(scene, { count, cluster: scene.node.limits.discardAlignment })

/** Some writes, a commit, and again. */
const commit: Operation = {
  async run(scene) {
    await some(scene, 8)
    await scene.guest.commit(scene.guestOf('base'))
    await some(scene, 6)
    await scene.guest.commit(scene.guestOf('base'), { makeEmpty: scene.random.chance(0.7) })
  },
}

const COMMITS: Readonly<Record<string, Overlay>> = {
  'eager to eager': { top: eager, base: eager },
  'lazy to lazy': { top: lazily(eager), base: lazy },
  'lazy to eager': { top: lazily(eager), base: eager },
  'eager to lazy, small clusters': { top: small, base: lazily(small) },
  'to version 2': { top: eager, base: VARIETIES['version 2'] },
  'from version 2': { top: VARIETIES['version 2'], base: eager },
  'subclusters to subclusters': { top: VARIETIES.subclusters, base: VARIETIES.subclusters },
  'to a shorter base': { top: eager, base: SHORTER },
  'data file to data file': { top: VARIETIES['data file'], base: VARIETIES['data file'] },
  'to a lazy data file': { top: eager, base: VARIETIES['lazy, data file'] },
}

const empty: Operation = {
  async run(scene) {
    for (let i = 0; i < 3; i++) {
      await some(scene, 6)
      await scene.guest.makeEmpty()
    }
    await some(scene, 4)
  },
}

/** Emptying marks the image dirty for a while, even if refcounts are not lazy. */
const dirty = (variety: Variety): Variety => ({ ...variety, allows: { ...variety.allows, dirty: true } })

crashTests(
  'qcow2 overlays',
  [
    ...Object.entries(TOPS).map(([name, images]) => overlay(`copy on write: ${name}`, images, mixed)),
    ...Object.entries(COMMITS).map(([name, { top, base }]) =>
      overlay(`commit: ${name}`, { top: dirty(top), base, fill }, commit),
    ),
    overlay('empty: overlay', { top: dirty(eager), base: ONE_CLUSTER }, empty),
    overlay('empty: lazy overlay', { top: lazily(eager), base: ONE_CLUSTER }, empty),
    overlay('empty: overlay with a data file', { top: VARIETIES['data file'], base: ONE_CLUSTER }, empty),
    alone('empty: alone', dirty(eager), empty),
    alone('empty: version 2', VARIETIES['version 2'], empty),
    alone('empty: subclusters', dirty(VARIETIES.subclusters), empty),
  ],
  process.env,
)
