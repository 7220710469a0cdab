/** Disks and requests that together reach every step announced by the driver. */
import { deflateRawSync } from 'node:zlib'
import { type BlockNode, openMemory, openNode, type RawOptions, snapshotsOf } from '@vmblock/block-core'
import { type DebugEvent, viewOf } from '@vmblock/block-core/driver'
import { createRandom, type FaultScenario, type FaultyDisk, toBytes } from '@vmblock/block-core/testing'
import { compressedEntryHi, compressedEntryLo } from '../format/compressed-entry.ts'
import type { Header } from '../format/header.ts'
import { hostOffsetOf } from '../format/l2-entry.ts'
import { createImage, environment, findings, pattern } from './images.ts'
import { headerIn } from './plain-header.ts'

/** A scenario, and the steps that it must reach. */
export interface Steps {
  readonly name: string
  readonly events: readonly DebugEvent[]
  /** @param lazy whether the image postpones refcounts */
  scenario(lazy: boolean): FaultScenario
}

const KIB = 1024
/** Small clusters make all tables small. */
const CLUSTER = 512

const TINY = { 'l2-cache-entry-size': 512, l2CacheSize: 2048, refcountCacheSize: 2048 }

const openOver = (file: BlockNode, backing: BlockNode | null, options: RawOptions = {}): Promise<BlockNode> =>
  openNode(environment, { driver: 'qcow2', file, backing, discard: 'unmap', ...options })

/**
 * The common parts of all scenarios. A lazy image that crashed is dirty; the next open repairs it.
 *
 * @param key names the secret of an encrypted image
 */
export const common = (lazy: boolean, key: RawOptions = {}) => ({
  open: (file: BlockNode) => openOver(file, null, { ...TINY, ...key }),
  async verify(file: BlockNode, afterCrash: boolean) {
    const { corruptions, checkErrors, lines } = await findings(file, key)
    const node = await openNode(environment, { driver: 'qcow2', file, backing: null, readOnly: true, ...key })
    const { dirty } = await node.info()
    await node.close()
    if (dirty && !(lazy && afterCrash)) throw new Error('the image is dirty')
    if (!dirty && corruptions + checkErrors > 0) throw new Error(lines.join('\n'))
  },
})

/**
 * A new image whose disk begins with `before`.
 *
 * @param key names the secret of an encrypted image
 */
export async function makeDisk(
  create: RawOptions,
  lazy: boolean,
  before: Uint8Array,
  key: RawOptions = {},
): Promise<FaultyDisk> {
  const file = await createImage({ ...create, lazy_refcounts: lazy, ...key })
  const node = await openOver(file, null, key)
  await node.write(0, before)
  const content = await toBytes(node)
  await node.close()
  return { file, content, safe: before.length }
}

const SMALL = { size: 64 * KIB, cluster_size: CLUSTER, refcount_bits: 64 }
/** Written and flushed before the errors begin. */
const SAFE_AREA = 8 * KIB

/** An overlay with all kinds of guest requests. */
function overlay(lazy: boolean): FaultScenario {
  const below = openMemory(pattern(2 * SMALL.size, 3), { readOnly: true })
  return {
    ...common(lazy),
    open: (file) => openOver(file, below, TINY),
    async make() {
      const disk = await makeDisk(SMALL, lazy, pattern(SAFE_AREA, 4))
      const content = pattern(SMALL.size, 3)
      content.set(disk.content.subarray(0, SAFE_AREA))
      return { ...disk, content }
    },
    async run(guest) {
      const random = createRandom(7)
      for (let round = 0; round < 2; round++) {
        for (let at = SAFE_AREA; at < SMALL.size - 8 * KIB; at += 6000)
          await guest.write(at, 3000, at + round)
        await guest.flush()
        for (let i = 0; i < 5; i++) {
          const at = SAFE_AREA + random.int(0, 80) * CLUSTER
          await guest.discard(at, 3 * CLUSTER)
          await guest.zero(at + 8 * CLUSTER, 2 * CLUSTER, i % 2 === 0)
          await guest.write(at + 12 * CLUSTER + 100, 200, i + 50)
          await guest.read(at, 4096)
        }
        await guest.flush()
      }
      // The L1 table has room for 2 MiB.
      await guest.resize(2 ** 21 + 2 ** 19)
      await guest.resize(SMALL.size)
      await guest.flush()
    },
  }
}

/** A refcount table that is nearly full: 64 blocks of 64 refcounts, nearly all of them leaks. */
function fullRefcountTable(lazy: boolean): FaultScenario {
  let made: Promise<FaultyDisk> | undefined
  const fill = async (): Promise<FaultyDisk> => {
    const disk = await makeDisk({ ...SMALL, size: 1024 * KIB }, lazy, pattern(4 * CLUSTER, 5))
    const { refcountTableOffset } = await headerOf(disk.file)
    const table = new Uint8Array(CLUSTER)
    await disk.file.read(refcountTableOffset, table)
    const first = 64
    for (let index = 0; index < 64; index++) {
      const block = new Uint8Array(CLUSTER)
      // Clusters at the end are free, so that it does not grow at once.
      for (let entry = 0; entry < (index === 63 ? 40 : 64); entry++) viewOf(block).setUint32(entry * 8 + 4, 1)
      const blockOffset = index === 0 ? viewOf(table).getUint32(4) : (first + index) * CLUSTER
      viewOf(table).setUint32(index * 8 + 4, blockOffset)
      await disk.file.write(blockOffset, block)
    }
    await disk.file.write(refcountTableOffset, table)
    return disk
  }
  return {
    ...common(lazy),
    async make() {
      made ??= fill()
      const { file, content, safe } = await made
      return { file: openMemory(await toBytes(file)), content, safe }
    },
    async run(guest) {
      for (let at = 64 * KIB; at < 320 * KIB; at += 8 * KIB) await guest.write(at, 4 * KIB, at)
      await guest.flush()
      // The new blocks become empty.
      await guest.resize(32 * KIB)
      await guest.resize(1024 * KIB)
    },
  }
}

/** Drops all data at once. After a failure halfway, the image cannot be used until it is reopened. */
const emptying = (lazy: boolean): FaultScenario => ({
  // The dirty bit covers the time without refcounts.
  ...common(true),
  mayStop: true,
  async make() {
    return { ...(await makeDisk(SMALL, lazy, pattern(16 * KIB, 6))), safe: 0 }
  },
  async run(guest) {
    const done = await guest.try(() => guest.node.makeEmpty())
    guest.expected.fill(done ? 0 : -1)
  },
})

/**
 * Puts compressed data where a cluster of the first L2 table has its data.
 *
 * @param index of the cluster in the table
 * @param content of the whole cluster
 */
export async function compressCluster(
  file: BlockNode,
  clusterSize: number,
  index: number,
  content: Uint8Array,
): Promise<void> {
  const { table, bytes, view } = await l2TableOf(file, clusterSize)
  const host = hostOffsetOf(view.getUint32(index * 8), view.getUint32(index * 8 + 4))
  const data = deflateRawSync(content, { windowBits: 12 })
  await file.write(host, data)
  view.setUint32(index * 8, compressedEntryHi(host, data.length, Math.log2(clusterSize)))
  view.setUint32(index * 8 + 4, compressedEntryLo(host))
  await file.write(table, bytes)
}

/** A compressed cluster. */
const compressed = (lazy: boolean): FaultScenario => ({
  ...common(lazy),
  async make() {
    const cluster = new Uint8Array(4 * KIB).fill(7)
    const disk = await makeDisk({ size: 64 * KIB, cluster_size: 4 * KIB }, lazy, cluster)
    await compressCluster(disk.file, 4 * KIB, 0, cluster)
    return { ...disk, safe: 0 }
  },
  async run(guest) {
    await guest.read(100, 1000)
    await guest.write(512, 512, 8)
    await guest.flush()
  },
})

/** Compressed clusters that are written, overwritten and given up, several of them in a host cluster. */
const compressing = (lazy: boolean): FaultScenario => ({
  ...common(lazy),
  make: () =>
    makeDisk({ size: 256 * KIB, cluster_size: 4 * KIB, refcount_bits: 64 }, lazy, pattern(4 * KIB, 5)),
  async run(guest) {
    const cluster = 4 * KIB
    for (let round = 0; round < 2; round++) {
      for (let i = 1; i < 12; i++) await guest.writeCompressed(i * cluster, cluster, 1 + i + round)
      await guest.flush()
      await guest.writeCompressed((16 + 8 * round) * cluster, 8 * cluster, 40 + round)
      await guest.discard(3 * cluster, 2 * cluster)
      await guest.zero(6 * cluster, cluster, true)
      await guest.write(8 * cluster + 512, 512, 60 + round)
      await guest.flush()
      await guest.discard(cluster, 11 * cluster)
      await guest.flush()
    }
  },
})

/** A table and clusters with a second reference, as from a snapshot. */
const shared = (lazy: boolean): FaultScenario => ({
  ...common(lazy),
  async make() {
    const disk = await makeDisk(SMALL, lazy, pattern(SAFE_AREA, 9))
    const { file } = disk
    const { refcountTableOffset, l1TableOffset } = await headerOf(file)
    const { table, bytes, view } = await l2TableOf(file, CLUSTER)
    const word = new Uint8Array(8)
    await file.read(refcountTableOffset, word)
    const refblock = viewOf(word).getUint32(4)
    const share = (host: number): Promise<void> =>
      file.write(refblock + (host / CLUSTER) * 8, Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 2))
    await share(table)
    for (let at = 0; at < CLUSTER; at += 8) {
      const host = hostOffsetOf(view.getUint32(at), view.getUint32(at + 4))
      view.setUint32(at, 0)
      if (host !== 0) await share(host)
    }
    await file.write(table, bytes)
    viewOf(word).setUint32(0, 0)
    viewOf(word).setUint32(4, table)
    await file.write(l1TableOffset, word)
    return { ...disk, safe: 4 * CLUSTER }
  },
  async run(guest) {
    await guest.write(6 * CLUSTER, 300, 8)
    await guest.write(8 * CLUSTER, 3 * CLUSTER, 9)
    await guest.flush()
  },
})

/** Copies that are too long to be written together with the data. */
function largeCopies(lazy: boolean): FaultScenario {
  const size = 2 * KIB * KIB
  const content = new Uint8Array(size).fill(3)
  const below = openMemory(content, { readOnly: true })
  return {
    ...common(lazy),
    open: (file) => openOver(file, below),
    async make() {
      return { ...(await makeDisk({ size, cluster_size: size }, lazy, new Uint8Array(0))), content }
    },
    async run(guest) {
      await guest.write(size / 2, 1000, 1)
    },
  }
}

/** A file that accepts only whole blocks. */
const blocks = (lazy: boolean): FaultScenario => ({ ...overlay(lazy), debugOptions: { align: 4096 } })

/** Most of the disk is given up, and the rest moves into its place, with its table. */
const compacting = (lazy: boolean): FaultScenario => ({
  ...common(lazy),
  make: async () => ({ ...(await makeDisk(SMALL, lazy, pattern(SMALL.size, 8))), safe: 0 }),
  async run(guest) {
    await guest.discard(0, (SMALL.size / 4) * 3)
    await guest.flush()
    await guest.try(() => guest.node.compact())
    await guest.write((SMALL.size / 4) * 3 + 100, 300, 5)
    await guest.try(() => guest.node.compact())
  },
})

/** Other widths of refcounts, wider and narrower. */
const widths = (lazy: boolean): FaultScenario => ({
  ...common(lazy),
  make: () => makeDisk(SMALL, lazy, pattern(SAFE_AREA, 8)),
  async run(guest) {
    for (const bits of [8, 1, 32]) await guest.try(() => guest.node.amend({ refcount_bits: bits }))
  },
})

const vmState = (lazy: boolean): FaultScenario => ({
  ...common(lazy),
  make: () => makeDisk(SMALL, lazy, pattern(SAFE_AREA, 2)),
  async run(guest) {
    await guest.try(() => guest.node.writeVmState(0, pattern(2000)))
    await guest.try(() => guest.node.readVmState(0, new Uint8Array(2000)))
  },
})

/**
 * Snapshots, each all or nothing: a failed one leaves the disk and the list as they were. What could not be undone stands
 * under the dirty bit, which the next open repairs, and the next after that finds sound.
 */
const snapshots = (lazy: boolean): FaultScenario => ({
  ...common(lazy),
  make: () => makeDisk({ ...SMALL, refcount_bits: 16 }, lazy, pattern(SAFE_AREA, 8)),
  async run(guest) {
    const { node } = guest
    const made = new Map<string, Int16Array>()
    const all = snapshotsOf(node)
    const create = async (name: string): Promise<void> => {
      if (await guest.try(() => all.create(name))) made.set(name, guest.expected.slice())
    }
    const apply = async (name: string): Promise<void> => {
      if (await guest.try(() => all.apply(name))) guest.expected = made.get(name)!.slice()
    }
    const remove = async (name: string): Promise<void> => {
      if (await guest.try(() => all.delete(name))) made.delete(name)
    }
    await guest.try(() => node.writeVmState(0, pattern(3000)))
    await create('a')
    await guest.write(SAFE_AREA, 5000, 1)
    await create('b')
    await guest.write(SAFE_AREA + 2000, 9000, 2)
    await guest.resize(2 * SMALL.size)
    await apply('a')
    await guest.write(SAFE_AREA, 300, 3)
    await remove('a')
    await apply('b')
    await guest.write(SAFE_AREA + 4000, 300, 4)
    await remove('b')
    await guest.flush()
    const names = await all.list().catch(() => undefined)
    if (names && names.map(({ name }) => name).join() !== [...made.keys()].join())
      throw new Error(`there are the snapshots ${names.map(({ name }) => name)}, not ${[...made.keys()]}`)
  },
  async verify(file) {
    const node = await openOver(file, null)
    await node.close()
    const { corruptions, checkErrors, lines } = await findings(file)
    if (corruptions + checkErrors > 0) throw new Error(lines.join('\n'))
  },
})
const WIDTH_EVENTS: readonly DebugEvent[] = [
  'refblock_alloc_write_blocks',
  'refblock_alloc_write_table',
  'refblock_alloc_switch_table',
  'flush_to_disk',
  'pwritev',
]

/** The scenarios, which together contain every announced step. */
export const STEPS: readonly Steps[] = [
  {
    name: 'a guest on an overlay',
    scenario: overlay,
    events: [
      'l1_update',
      'l1_grow_alloc_table',
      'l1_grow_write_table',
      'l1_grow_activate_table',
      'l1_shrink_write_table',
      'l1_shrink_free_l2_clusters',
      'l2_load',
      'l2_update',
      'l2_alloc_write',
      'read_aio',
      'read_backing_aio',
      'write_aio',
      'cow_read',
      'reftable_load',
      'refblock_load',
      'refblock_update_part',
      'refblock_alloc',
      'refblock_alloc_hookup',
      'refblock_alloc_write',
      'cluster_alloc',
      'cluster_free',
      'flush_to_os',
      'flush_to_disk',
      'pwritev',
      'pwritev_done',
    ],
  },
  {
    name: 'a refcount table that grows and shrinks',
    scenario: fullRefcountTable,
    events: [
      'reftable_grow',
      'reftable_update',
      'refblock_alloc_write_blocks',
      'refblock_alloc_write_table',
      'refblock_alloc_switch_table',
    ],
  },
  { name: 'emptying an image', scenario: emptying, events: ['empty_image_prepare', 'pwritev_zero'] },
  { name: 'a compressed cluster', scenario: compressed, events: ['read_compressed'] },
  {
    name: 'compressed writes',
    scenario: compressing,
    events: ['cluster_alloc_bytes', 'write_compressed', 'l2_update_compressed'],
  },
  { name: 'shared clusters', scenario: shared, events: ['l2_alloc_cow_read'] },
  { name: 'long copies', scenario: largeCopies, events: ['cow_write'] },
  {
    name: 'a file of blocks',
    scenario: blocks,
    events: ['pwritev_rmw_head', 'pwritev_rmw_after_head', 'pwritev_rmw_tail', 'pwritev_rmw_after_tail'],
  },
  {
    name: 'snapshots',
    scenario: snapshots,
    events: [
      'l1_update',
      'l1_grow_write_table',
      'l2_load',
      'l2_update',
      'refblock_load',
      'refblock_update_part',
      'cluster_alloc',
      'cluster_free',
      'flush_to_disk',
      'pwritev',
    ],
  },
  { name: 'other widths of refcounts', scenario: widths, events: WIDTH_EVENTS },
  {
    name: 'compacting',
    scenario: compacting,
    events: [
      'l1_update',
      'l2_load',
      'l2_update',
      'cow_read',
      'cow_write',
      'refblock_load',
      'refblock_update_part',
      'cluster_free',
      'flush_to_os',
      'flush_to_disk',
      'pwritev',
    ],
  },
  { name: 'VM state', scenario: vmState, events: ['vmstate_save', 'vmstate_load'] },
]

async function headerOf(file: BlockNode): Promise<Header> {
  const bytes = new Uint8Array(CLUSTER)
  await file.read(0, bytes)
  return headerIn(bytes, true)
}

/** The first L2 table. */
async function l2TableOf(file: BlockNode, clusterSize: number) {
  const { l1TableOffset } = await headerOf(file)
  const word = new Uint8Array(8)
  await file.read(l1TableOffset, word)
  const table = hostOffsetOf(viewOf(word).getUint32(0), viewOf(word).getUint32(4))
  const bytes = new Uint8Array(clusterSize)
  await file.read(table, bytes)
  return { table, bytes, view: viewOf(bytes) }
}
