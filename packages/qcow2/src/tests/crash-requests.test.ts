/** Power cuts while a guest writes, zeroes and discards, in every kind of image. */
import { crashTests, fullDisk, randomRequests } from '@vmblock/block-core/testing'
import {
  alone,
  CLUSTER,
  type Operation,
  onEach,
  VARIETIES,
  type Variety,
  type VarietyName,
} from '../testing/crash.ts'

/** All kinds of requests. */
const mixed: Operation = {
  run: (scene) => randomRequests(scene, { cluster: scene.node.limits.discardAlignment }),
}

/** A small range, so that clusters are freed and reused all the time. */
const reuse: Operation = {
  run(scene) {
    const cluster = scene.node.limits.discardAlignment
    const kinds = { cluster: 4, discard: 4, zero: 2, flush: 2 }
    return randomRequests(scene, { count: 40, cluster, area: [0, 12 * cluster], kinds })
  },
}

/** Compressed clusters among others: several in a host cluster, overwritten, zeroed and discarded. */
const compressedIn = (clusters: number): Operation => ({
  run(scene) {
    const cluster = scene.node.limits.discardAlignment
    const kinds = { compressed: 6, discard: 3, write: 1, cluster: 1, zero: 1, flush: 2 }
    return randomRequests(scene, { count: 30, cluster, area: [0, clusters * cluster], kinds })
  },
})
const compressed = compressedIn(24)

/**
 * A disk that is full with the tables and the clusters of {@link reuse}, and one more: freed clusters have to
 * be reused, and no request may fail for lack of space. After a power cut there is some space: leaked
 * clusters keep theirs.
 */
const FULL = fullDisk((atOpen) => Math.max(18 * CLUSTER, atOpen + 13 * CLUSTER))
const onFullDisk = (variety: Variety): Variety => ({ ...variety, image: { ...variety.image, filter: FULL } })

crashTests(
  'qcow2 requests',
  [
    ...onEach('mixed', Object.keys(VARIETIES) as VarietyName[], mixed),
    ...onEach(
      'reuse',
      ['eager', 'lazy', 'version 2', 'lazy, writethrough', 'small clusters', 'subclusters'],
      reuse,
    ),
    ...onEach(
      'compressed',
      [
        'eager',
        'lazy',
        'eager, writethrough',
        'lazy, directsync on 4k sectors',
        'small clusters',
        'lazy, small clusters',
        'version 2',
        '1-bit refcounts',
        'lazy, 64k clusters',
        'subclusters',
        'reserved refcounts',
        'zstd',
        'bounded frees',
      ],
      compressed,
    ),
    ...onEach('reuse', ['bounded frees', 'lazy, bounded frees'], reuse),
    alone('reuse on a full disk: eager', onFullDisk(VARIETIES.eager), reuse),
    alone('reuse on a full disk: lazy', onFullDisk(VARIETIES.lazy), reuse),
    alone('compressed on a full disk: eager', onFullDisk(VARIETIES.eager), compressedIn(9)),
  ],
  process.env,
)
