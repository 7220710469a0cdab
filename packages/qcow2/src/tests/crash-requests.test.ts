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

/** A bit of everything. */
const mixed: Operation = {
  run: (scene) => randomRequests(scene, { cluster: scene.node.limits.discardAlignment }),
}

/** Little room, so that clusters are given up and taken again all the time. */
const reuse: Operation = {
  run(scene) {
    const cluster = scene.node.limits.discardAlignment
    const kinds = { cluster: 4, discard: 4, zero: 2, flush: 2 }
    return randomRequests(scene, { count: 40, cluster, area: [0, 12 * cluster], kinds })
  },
}

/**
 * On a disk that is full with the tables and the clusters of {@link reuse}, and one more: what was freed has to be used
 * again, and no request may be told that there is no space. After a power cut there is some: what leaked keeps its own.
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
    ...onEach('reuse', ['bounded frees', 'lazy, bounded frees'], reuse),
    alone('reuse on a full disk: eager', onFullDisk(VARIETIES.eager), reuse),
    alone('reuse on a full disk: lazy', onFullDisk(VARIETIES.lazy), reuse),
  ],
  process.env,
)
