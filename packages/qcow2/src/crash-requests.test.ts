/** Power cuts while a guest writes, zeroes and discards, in every kind of image. */
import { crashTests, randomRequests } from '@vmblock/block-core/testing'
import { CLUSTER, type Operation, onEach, VARIETIES, type VarietyName } from './testing/crash.ts'

/** A bit of everything. */
const mixed: Operation = {
  run: (scene) => randomRequests(scene, { cluster: scene.node.limits.discardAlignment }),
}

/** Little room, so that clusters are given up and taken again all the time. */
const reuse: Operation = {
  run: (scene) =>
    randomRequests(scene, {
      count: 40,
      cluster: CLUSTER,
      area: [0, 16 * CLUSTER],
      kinds: { cluster: 4, discard: 4, zero: 2, flush: 2 },
    }),
}

crashTests(
  'qcow2 requests',
  [
    ...onEach('mixed', Object.keys(VARIETIES) as VarietyName[], mixed),
    ...onEach('reuse', ['eager', 'lazy', 'version 2', 'lazy, writethrough', 'lazy, tiny caches'], reuse),
  ],
  process.env,
)
