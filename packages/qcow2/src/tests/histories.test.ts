/** Overlapping requests of every kind on all kinds of images, on a disk that completes them in any order. */
import {
  type BlockNode,
  commitNode,
  isBlockError,
  openNode,
  type RawOptions,
  snapshotsOf,
} from '@vmblock/block-core'
import {
  type ConcurrencyRun,
  type ConcurrencyVerb,
  checkVerb,
  reopenVerb,
  runConcurrently,
  stamped,
} from '@vmblock/block-core/testing'
import { expect, test } from 'vitest'
import { createImage, emptyDisk, environment, findings, open, SAFE, SOUND } from '../testing/images.ts'

const RUNS = Number(process.env['CONCURRENCY_RUNS'] ?? 2)
const SEED = Number(process.env['CONCURRENCY_SEED'] ?? 1)

/** Caches of two slices: every code path has to evict. */
const TINY = { l2CacheSize: 1024, refcountCacheSize: 1024, 'l2-cache-entry-size': 512 }

const KIB = 1024

interface Variety {
  readonly name: string
  readonly create: RawOptions
  readonly size: number
  readonly dataFile?: true
  readonly overlay?: true
  readonly run?: Partial<ConcurrencyRun>
}

const commit: ConcurrencyVerb = { name: 'commit', share: 2, run: (node) => commitNode(node) }

/** Makes, reads and deletes snapshots, none of which may change what the disk shows. Applying one does. */
const snapshots: ConcurrencyVerb = {
  name: 'snapshot',
  share: 6,
  async run(node, random) {
    const all = snapshotsOf(node)
    const [first] = await all.list()
    // The node may be read-only just now, and others delete snapshots, too, or read them.
    const expected = (error: unknown): void => {
      if (!isBlockError(error) || !['EPERM', 'ENOENT', 'EBUSY'].includes(error.code)) throw error
    }
    if (!first || random.chance(0.4)) return void (await all.create('some').catch(expected))
    if (random.chance(0.5)) return all.delete({ id: first.id }).catch(expected)
    const view = await all.open({ id: first.id }).catch(expected)
    await view?.read(0, new Uint8Array(Math.min(view.size, 4096)))
    await view?.close()
  },
}

const VARIETIES: readonly Variety[] = [
  { name: 'clusters of 512', create: { cluster_size: 512, refcount_bits: 64 }, size: 64 * KIB },
  { name: 'lazy, clusters of 512', create: { cluster_size: 512, lazy_refcounts: 'on' }, size: 64 * KIB },
  { name: 'version 2', create: { cluster_size: 4 * KIB, compat: '0.10' }, size: 128 * KIB },
  { name: 'clusters of 64 KiB', create: {}, size: 512 * KIB },
  { name: 'lazy, clusters of 64 KiB', create: { lazy_refcounts: 'on' }, size: 512 * KIB },
  { name: 'subclusters', create: { cluster_size: 16 * KIB, extended_l2: 'on' }, size: 256 * KIB },
  {
    name: 'overlay',
    create: { cluster_size: 4 * KIB },
    size: 64 * KIB,
    overlay: true,
    run: { verbs: [commit] },
  },
  {
    name: 'lazy overlay with subclusters',
    create: { cluster_size: 16 * KIB, extended_l2: 'on', lazy_refcounts: 'on' },
    size: 128 * KIB,
    overlay: true,
    run: { verbs: [commit] },
  },
  { name: 'data file', create: { cluster_size: 4 * KIB, data_file: 'x' }, size: 128 * KIB, dataFile: true },
  {
    name: 'raw data file',
    create: { cluster_size: 4 * KIB, data_file: 'x', data_file_raw: 'on' },
    size: 128 * KIB,
    dataFile: true,
  },
  {
    name: 'snapshots',
    create: { cluster_size: 512, refcount_bits: 64 },
    size: 64 * KIB,
    run: { verbs: [snapshots] },
  },
  {
    name: 'lazy, snapshots',
    create: { cluster_size: 4 * KIB, lazy_refcounts: 'on' },
    size: 128 * KIB,
    run: { verbs: [snapshots] },
  },
  { name: 'parts of sectors', create: { cluster_size: 512 }, size: 8 * KIB, run: { sector: 64 } },
  {
    name: 'failing',
    create: { cluster_size: 512, refcount_bits: 64 },
    size: 64 * KIB,
    run: { faults: 0.02 },
  },
  {
    name: 'lazy, failing',
    create: { cluster_size: 4 * KIB, lazy_refcounts: 'on' },
    size: 64 * KIB,
    run: { faults: 0.02 },
  },
  {
    name: 'overlay, failing',
    create: { cluster_size: 4 * KIB },
    size: 64 * KIB,
    overlay: true,
    // A shrink that fails halfway shows the backing file.
    run: { faults: 0.02, resizeUpTo: undefined },
  },
]

const REOPENINGS = [
  { readOnly: true },
  { readOnly: false },
  { readOnly: false },
  { options: { 'lazy-refcounts': true } },
  { options: { 'lazy-refcounts': false } },
  { options: { l2CacheSize: 4096 } },
  { options: { l2CacheSize: 1024 } },
  { cache: { writeCache: false } },
  { cache: { writeCache: true } },
]

function runOf({ create, size, dataFile, overlay, run = {} }: Variety, seed: number): ConcurrencyRun {
  const granularity = (create['cluster_size'] as number | undefined) ?? 64 * KIB
  const sector = run.sector ?? 512
  return {
    seed,
    requests: 150,
    granularity,
    longest: Math.min(3 * granularity, 96 * KIB),
    discard: 'zeroes',
    // Growing an overlay must hide the backing file's data, so it grows by at most an eighth.
    ...(!dataFile && { resizeUpTo: size + Math.ceil(size / 8 / sector) * sector }),
    ...run,
    verbs: [
      checkVerb(2, run.faults !== undefined),
      reopenVerb(
        4,
        create['compat'] === '0.10'
          ? REOPENINGS.filter(({ options }) => !options?.['lazy-refcounts'])
          : REOPENINGS,
      ),
      ...(run.verbs ?? []),
    ],
    async make(shaker) {
      const data = dataFile ? await emptyDisk() : undefined
      const file = await createImage({ size, ...create }, data)
      const shaken = await shaker.shake(file)
      const below = overlay ? await backing(size, sector, (base) => shaker.shake(base)) : undefined
      const openOn = (top: BlockNode, dataTop: BlockNode | undefined): Promise<BlockNode> =>
        open(top, {
          ...TINY,
          ...(dataTop && { 'data-file': dataTop }),
          backing: below ?? null,
        })
      const node = await openOn(shaken, data && (await shaker.shake(data)))
      return {
        node,
        again: () => openOn(file, data),
        async verify() {
          const found = await findings(file, data && { 'data-file': data })
          expect(found).toMatchObject(run.faults === undefined ? SOUND : SAFE)
        },
      }
    },
  }
}

async function backing(
  size: number,
  sector: number,
  shake: (file: BlockNode) => Promise<BlockNode>,
): Promise<BlockNode> {
  const file = await createImage({ size, cluster_size: 4096 })
  const node = await open(file)
  await node.write(0, stamped(0, size, 1e6, sector))
  await node.close()
  return openNode(environment, { driver: 'qcow2', file: await shake(file), readOnly: true })
}

test.each(VARIETIES)('$name', async (variety) => {
  for (let seed = SEED; seed < SEED + RUNS; seed++) await runConcurrently(runOf(variety, seed))
  console.log(`counted ${RUNS} histories: qcow2, ${variety.name}`)
})
