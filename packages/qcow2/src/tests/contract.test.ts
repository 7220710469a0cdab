/** qcow2 fulfills the contract of all drivers, in all kinds of images; and no run leaves one corrupt. */
import type { BlockNode, RawOptions } from '@vmblock/block-core'
import { driverContract, type MakeNode, optionsFor, runModel } from '@vmblock/block-core/testing'
import { afterAll, describe, expect, test } from 'vitest'
import { copyOf, createImage, emptyDisk, findings, open, SAFE } from '../testing/images.ts'
import { KINDS } from '../testing/kinds.ts'

interface Variety {
  readonly name: string
  readonly create?: RawOptions
  readonly open?: RawOptions
  readonly dataFile?: boolean
  /** Only random runs against the model, which matter most, and are much faster. */
  readonly brief?: boolean
}

/** Caches of two slices: every code path has to evict. */
const TINY = { l2CacheSize: 1024, refcountCacheSize: 1024, 'l2-cache-entry-size': 512 }

const VARIETIES: readonly Variety[] = [
  { name: 'qcow2' },
  { name: 'qcow2 with lazy refcounts', create: { ...KINDS.lazy, cluster_size: 4096 }, brief: true },
  { name: 'qcow2 version 2', create: { ...KINDS['version 2'], cluster_size: 4096 } },
  {
    name: 'qcow2 with clusters of 512, refcounts of 64 bits and tiny caches',
    create: { ...KINDS['64-bit refcounts'], cluster_size: 512 },
    open: TINY,
  },
  {
    name: 'qcow2 with refcounts of 1 bit',
    create: { ...KINDS['1-bit refcounts'], cluster_size: 1024 },
    brief: true,
  },
  { name: 'qcow2 with subclusters', create: { ...KINDS.subclusters, cluster_size: 16384 }, brief: true },
  {
    name: 'qcow2 with subclusters, lazy, with tiny caches',
    create: { ...KINDS.subclusters, ...KINDS.lazy, cluster_size: 32768 },
    open: TINY,
  },
  { name: 'qcow2 preallocated', create: { ...KINDS.preallocated, cluster_size: 4096 }, brief: true },
  { name: 'qcow2 with clusters of 2 MiB', create: { cluster_size: 2 ** 21 }, brief: true },
  {
    name: 'qcow2 with a data file',
    create: optionsFor(KINDS['data file'], 'x'),
    dataFile: true,
    brief: true,
  },
  { name: 'qcow2 with a raw data file', create: optionsFor(KINDS['raw data file'], 'x'), dataFile: true },
]

/** Images made by the suites, which are checked at the end. */
const images: [name: string, file: BlockNode, data: BlockNode | undefined][] = []

for (const { name, create = {}, open: options = {}, dataFile = false, brief = false } of VARIETIES) {
  const files = new WeakMap<BlockNode, readonly [file: BlockNode, data: BlockNode | undefined]>()
  const openOn = async (
    file: BlockNode,
    data: BlockNode | undefined,
    more: RawOptions,
  ): Promise<BlockNode> => {
    const node = await open(file, { ...options, ...(data && { 'data-file': data }), ...more })
    files.set(node, [file, data])
    return node
  }
  const makeNode: MakeNode = async ({ size, readOnly, writeCache, detectZeroes }) => {
    const data = dataFile ? await emptyDisk() : undefined
    const file = await createImage({ size, ...create }, data)
    // A lazy image that crashed has to be repaired.
    if (create['lazy_refcounts'] === undefined) images.push([name, file, data])
    const config = { readOnly, 'cache.writeback': writeCache, detectZeroes: detectZeroes }
    return openOn(file, data, config)
  }
  const granularity = typeof create['cluster_size'] === 'number' ? create['cluster_size'] : 65536
  const reopen = (node: BlockNode): Promise<BlockNode> => openOn(...files.get(node)!, {})
  if (!brief) {
    driverContract(name, makeNode, {
      truncate: 'grow-and-shrink',
      knowsZeroes: create['data_file_raw'] === undefined,
      granularity,
      seeds: [1, 2],
      reopen,
    })
    continue
  }
  test.each([1, 2])(`${name}: seed %i gives the same as an array of bytes`, async (seed) => {
    await runModel({
      seed,
      operations: 120,
      granularity: Math.min(granularity, 65536),
      discard: 'undefined',
      truncateUpTo: undefined,
      makeNode: () => makeNode({ size: 2 ** 19, readOnly: false, writeCache: true, detectZeroes: 'off' }),
      reopen: async (node) => {
        await node.close()
        return reopen(node)
      },
      verify: async (node) => {
        expect(await node.check()).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 })
      },
    })
  })
}

describe('after all of this', () => {
  test('no image has a refcount that is too low', async () => {
    // One in three: a wrong refcount occurs more than once.
    for (const [name, file, data] of images.filter((_, index) => index % 3 === 0))
      expect(
        await findings(await copyOf(file), data && { 'data-file': await copyOf(data) }),
        name,
      ).toMatchObject(SAFE)
  })
  afterAll(() => images.splice(0))
})
