/** Power cuts while an image is compacted, with requests of the guest between and beside the pieces. */
import { crashTests, randomRequests } from '@vmblock/block-core/testing'
import { alone, lazily, type Operation, onEach, overlay, VARIETIES } from '../testing/crash.ts'

/** Fills the disk, gives up parts of it, and compacts; the guest writes meanwhile, or waits for the end. */
const compact: Operation = {
  weight: 0.5,
  async prepare({ guest }) {
    await guest.write(0, guest.size)
  },
  async run(scene) {
    const { random, guest } = scene
    const unit = scene.node.limits.discardAlignment
    for (let i = 0; i < 3; i++) {
      for (let at = 0; at + unit <= guest.size; at += unit * random.int(1, 6))
        await guest.discard(at, Math.min(unit * random.int(1, 4), guest.size - at))
      if (random.chance(0.7)) await guest.flush()
      const compacting = scene.node.compact()
      await (random.chance(0.6) ? randomRequests(scene, { count: 5, cluster: unit }) : undefined)
      await compacting
      await randomRequests(scene, { count: 3, cluster: unit })
    }
  },
}

/** Snapshots of the size of the disk: it grows, shrinks, and is compacted. */
const shrinkAndCompact: Operation = {
  weight: 0.5,
  async run(scene) {
    const { random, guest } = scene
    const unit = scene.node.limits.discardAlignment
    for (let i = 0; i < 3; i++) {
      await randomRequests(scene, { count: 6, cluster: unit })
      await guest.resize(random.int(8, 2 * (guest.size / unit) + 8) * unit)
      await randomRequests(scene, { count: 4, cluster: unit })
      await scene.node.compact()
    }
  },
}

crashTests(
  'qcow2 compact',
  [
    ...onEach(
      'compact',
      [
        'eager',
        'lazy',
        'lazy, writethrough',
        'version 2',
        'small clusters',
        'lazy, small clusters',
        '1-bit refcounts',
        '64-bit refcounts',
        'subclusters',
        'lazy, subclusters',
        'data file',
        'reserved refcounts',
        'eager, discards passed on',
        'eager, directsync on 4k sectors',
      ],
      compact,
    ),
    ...onEach(
      'shrink and compact',
      ['eager', 'lazy', 'small clusters', '64-bit refcounts'],
      shrinkAndCompact,
    ),
    overlay(
      'compact: overlay',
      { top: VARIETIES.eager, base: { create: { cluster_size: 65536, size: 4 * 65536 } } },
      compact,
    ),
    alone('compact: lazy, 64k clusters', lazily(VARIETIES['64k clusters']), compact),
  ],
  process.env,
)
