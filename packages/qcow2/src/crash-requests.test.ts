/** Power cuts while a guest writes, zeroes and discards, in every kind of image. */
import { crashTests, randomRequests } from '@vmblock/block-core/testing'
import { type Operation, onEach, VARIETIES, type VarietyName } from './testing/crash.ts'

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

crashTests(
  'qcow2 requests',
  [
    ...onEach('mixed', Object.keys(VARIETIES) as VarietyName[], mixed),
    ...onEach(
      'reuse',
      ['eager', 'lazy', 'version 2', 'lazy, writethrough', 'small clusters', 'subclusters'],
      reuse,
    ),
  ],
  process.env,
)
