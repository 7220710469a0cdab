/** Power cuts while a guest writes to QED images, lets time pass, resizes, reopens and commits. */
import { type CrashScene, crashTests, randomRequests } from '@vmblock/block-core/testing'
import {
  alone,
  CLUSTER,
  COVERAGE,
  clock,
  type Operation,
  overlay,
  VARIETIES,
  type Variety,
} from './testing/crash.ts'

const clusterOf = ({ node }: CrashScene): number => node.limits.writeZeroesAlignment

/** No discards, which QED does not support. */
const KINDS = { write: 5, fua: 1, cluster: 1, zero: 2, flush: 1 }

const some = (scene: CrashScene, count?: number): Promise<void> =>
  randomRequests(scene, { ...(count !== undefined && { count }), cluster: clusterOf(scene), kinds: KINDS })

/** All kinds of requests; at times none for a while, so that the need-check bit is cleared. */
const mixed: Operation = {
  run: (scene) =>
    randomRequests(scene, {
      cluster: clusterOf(scene),
      kinds: KINDS,
      between: () => (scene.random.chance(0.2) ? clock.elapse() : undefined),
    }),
}

/** Around the border between two L2 tables. */
const acrossTables: Operation = {
  run: (scene) =>
    randomRequests(scene, {
      cluster: CLUSTER,
      kinds: KINDS,
      area: [COVERAGE - 32 * 1024, COVERAGE + 64 * 1024],
      between: () => (scene.random.chance(0.2) ? clock.elapse() : undefined),
    }),
}

/** The disk grows; it cannot shrink. */
const resize: Operation = {
  async run(scene) {
    for (let i = 0; i < 5; i++) {
      await some(scene, 4)
      await scene.guest.resize(scene.guest.size + scene.random.int(1, 48) * 512)
      if (scene.random.chance(0.3)) clock.elapse()
    }
  },
}

/** Reopens read-only and back, with other cache modes, closes, checks, and opens again. */
const reopen: Operation = {
  async run(scene) {
    const { random, guest } = scene
    for (let i = 0; i < 5; i++) {
      await some(scene, 4)
      const step = random.int(0, 5)
      if (step === 0) await scene.restart()
      else if (step === 1) await scene.node.check(random.pick([{}, { repair: 'all' }] as const))
      else if (step === 2) await guest.reopen({ cache: { writeCache: random.chance(0.5) } })
      else {
        await guest.reopen({ readOnly: true })
        await guest.reopen({ readOnly: false })
      }
    }
  },
}

/** Commits into the base, which then shows through. */
const commit: Operation = {
  async run(scene) {
    for (let i = 0; i < 2; i++) {
      await some(scene, 7)
      await scene.guest.commit(scene.guestOf('base'))
      if (scene.random.chance(0.3)) clock.elapse()
    }
  },
}

const small = VARIETIES['4k clusters']
const large = VARIETIES['64k clusters']
const ONE_CLUSTER: Variety = { create: { table_size: 1, size: 64 * 1024 } }
const SHORTER: Variety = { create: { ...small.create, size: 40 * 1024 } }

crashTests(
  'qed',
  [
    alone('mixed: 4k clusters', small, mixed),
    alone('mixed: writethrough', VARIETIES['4k clusters, writethrough'], mixed),
    alone('mixed: directsync on 4k sectors', VARIETIES['4k clusters, directsync on 4k sectors'], mixed),
    alone('mixed: 64k clusters', large, mixed),
    alone('mixed: two L2 tables', VARIETIES['two L2 tables'], acrossTables),
    overlay('mixed: overlay', small, ONE_CLUSTER, mixed),
    overlay('mixed: overlay, writethrough', VARIETIES['4k clusters, writethrough'], ONE_CLUSTER, mixed),
    overlay('mixed: overlay over a shorter base', small, SHORTER, mixed),
    overlay('mixed: overlay, 64k clusters', large, large, mixed),
    alone('resize: alone', small, resize),
    overlay('resize: overlay', small, SHORTER, resize),
    alone('reopen: alone', small, reopen),
    overlay('reopen: overlay', small, SHORTER, reopen),
    overlay('commit: same size', small, small, commit, { leaks: true, dirty: true }),
    overlay('commit: to a shorter base', small, SHORTER, commit, { leaks: true, dirty: true }),
  ],
  process.env,
)
