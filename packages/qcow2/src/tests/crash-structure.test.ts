/** Power cuts while an image changes its structure: the sizes of tables and disk, features, and modes. */
import { type CrashScene, crashTests, randomRequests } from '@vmblock/block-core/testing'
import {
  alone,
  SMALL_CLUSTER as CLUSTER,
  lazily,
  type Operation,
  onEach,
  overlay,
  VARIETIES,
} from '../testing/crash.ts'

const { eager } = VARIETIES
const small = VARIETIES['small clusters']

const some = (scene: CrashScene, count: number): Promise<void> =>
  randomRequests(scene, { count, cluster: scene.node.limits.discardAlignment })

/** The disk grows and shrinks between requests, sometimes with preallocated clusters. */
const resize: Operation = {
  async run(scene) {
    const { random, guest } = scene
    // Sometimes to the middle of a cluster.
    const unit = Math.max(scene.node.limits.discardAlignment / 2, 512)
    const most = (2 * guest.size) / unit
    for (let i = 0; i < 6; i++) {
      await some(scene, 4)
      const size = random.int(1, most) * unit
      const preallocates = size > guest.size && scene.node.backing === undefined && random.chance(0.3)
      await guest.resize(
        size,
        preallocates ? { preallocation: random.pick(['metadata', 'full'] as const) } : {},
      )
    }
  },
}

/** Each step adds L2 tables, and so moves the L1 table. */
const growL1: Operation = {
  meets: ['l1_grow_activate_table'],
  async run(scene) {
    for (let i = 0; i < 4; i++) {
      await scene.guest.resize(scene.guest.size + 32 * 1024)
      await randomRequests(scene, {
        count: 4,
        cluster: CLUSTER,
        area: [scene.guest.size - 32 * 1024, scene.guest.size],
        kinds: { write: 3, cluster: 2, flush: 1 },
      })
    }
  },
}

/** Clusters are allocated before they are written. */
const preallocate: Operation = {
  async run(scene) {
    const { random, guest } = scene
    for (let i = 0; i < 4; i++) {
      const preallocation = random.pick(['metadata', 'metadata', 'full'] as const)
      await guest.resize(guest.size + random.int(1, 32) * 1024, { preallocation })
      await some(scene, 3)
    }
  },
}

/** A refcount table of one cluster has 64 blocks of 64 counts; the VM state uses up all but a few. */
const FULL_TABLE = { cluster_size: CLUSTER, size: 64 * 1024, refcount_bits: 64 }
const growRefcounts: Operation = {
  meets: ['reftable_grow', 'refblock_alloc_switch_table', 'refblock_alloc_hookup'],
  // Checking that many clusters takes long.
  weight: 0.4,
  async prepare({ node }) {
    // Each takes 64 clusters, an L2 table for them, and a refcount block.
    const piece = new Uint8Array(64 * CLUSTER).fill(1)
    for (let i = 0; i < 61; i++) await node.writeVmState(i * piece.length, piece)
  },
  async run(scene) {
    const quarter = scene.guest.size / 4
    for (let i = 0; i < 4; i++) {
      const area = [i * quarter, (i + 1) * quarter] as const
      await scene.guest.write(area[0], quarter)
      await randomRequests(scene, {
        count: 3,
        cluster: CLUSTER,
        area,
        kinds: { write: 3, discard: 1, flush: 1 },
      })
    }
  },
}

/** Reopens read-only and back, with other cache modes, and with lazy refcounts on and off. */
const reopen: Operation = {
  async run(scene) {
    const { random, guest } = scene
    const version = (await scene.node.info()).formatSpecific?.data['compat']
    for (let i = 0; i < 6; i++) {
      await some(scene, 4)
      const lazy =
        version === '0.10' ? [] : ['on', 'off'].map((value) => ({ options: { 'lazy-refcounts': value } }))
      await guest.reopen(
        random.pick([
          { readOnly: true },
          { cache: { writeCache: false } },
          { cache: { writeCache: true } },
          { options: { l2CacheSize: 2 * scene.node.limits.discardAlignment } },
          ...lazy,
        ]),
      )
      if (scene.node.readOnly) await guest.reopen({ readOnly: false })
    }
  },
}

/** Closes, checks, repairs and opens the image between requests. */
const restart: Operation = {
  async run(scene) {
    for (let i = 0; i < 4; i++) {
      await some(scene, 5)
      if (scene.random.chance(0.5)) await scene.restart()
      else await scene.node.check(scene.random.pick([{}, { repair: 'leaks' }, { repair: 'all' }] as const))
    }
  },
}

/** Changes creation options, one after the other. Version 2 cannot hide the end of a longer backing file. */
const amend: Operation = {
  async run(scene) {
    const { random, guest, node } = scene
    for (let i = 0; i < 6; i++) {
      await some(scene, 4)
      const size = random.int(1, 40) * 4096
      const isVersion2 = (await node.info()).formatSpecific?.data['compat'] === '0.10'
      const change = random.pick<Readonly<Record<string, unknown>>>([
        { compat: '1.1', size },
        { compat: '1.1', lazy_refcounts: 'on' },
        { compat: '1.1', refcount_bits: random.pick([1, 2, 8, 16, 32, 64]) },
        ...(isVersion2 ? [] : [{ size }, { lazy_refcounts: 'off' }, { compat: '0.10' }]),
      ])
      // Version 2 has refcounts of 16 bits alone.
      if (change['compat'] === '0.10') await node.amend({ refcount_bits: 16 })
      if ('size' in change) await guest.resizing(size, () => node.amend(change))
      else await node.amend(change)
    }
  },
}

const BASE = { create: { cluster_size: 65536, size: 4 * 65536 } }
const dirty = { ...eager, allows: { dirty: true } }

crashTests(
  'qcow2 structure',
  [
    ...onEach(
      'resize',
      [
        'eager',
        'lazy',
        'lazy, writethrough',
        'version 2',
        '64-bit refcounts',
        'lazy, 1-bit refcounts',
        'subclusters',
        'lazy, subclusters',
        'data file',
        'raw data file',
        'small clusters',
        'lazy, small clusters',
        'lazy, 64k clusters',
      ],
      resize,
    ),
    overlay('resize: overlay', { top: eager, base: BASE }, resize),
    overlay('resize: lazy overlay', { top: lazily(eager), base: BASE }, resize),
    ...onEach(
      'L1 growth',
      ['small clusters', 'lazy, small clusters', 'lazy, small clusters, writethrough', '1-bit refcounts'],
      growL1,
    ),
    ...onEach(
      'preallocated growth',
      ['eager', 'lazy', 'version 2', 'small clusters', 'data file'],
      preallocate,
    ),
    alone('refcount table growth: eager', { create: FULL_TABLE }, growRefcounts),
    alone('refcount table growth: lazy', lazily({ create: FULL_TABLE }), growRefcounts),
    alone('reopen: eager or lazy', dirty, reopen),
    alone('reopen: version 2', VARIETIES['version 2'], reopen),
    alone('reopen: subclusters', lazily(VARIETIES.subclusters), reopen),
    ...onEach(
      'restart and check',
      ['eager', 'lazy', 'lazy, small clusters', 'lazy, 64k clusters', 'version 2', 'lazy, data file'],
      restart,
    ),
    alone('amend: alone', dirty, amend),
    alone('amend: small clusters', { ...small, allows: { dirty: true } }, amend),
    overlay('amend: overlay', { top: { ...dirty, allows: { dirty: true } }, base: BASE }, amend),
  ],
  process.env,
)
