/** What small reads of compressed clusters cost, and that what is remembered of them is never stale. */
import { inflateRawSync } from 'node:zlib'
import { DriverRegistry, denyHost, memory, openNode } from '@vmblock/block-core'
import { defineDriver, forwardOps } from '@vmblock/block-core/driver'
import { describe, expect, it } from 'vitest'
import { createQcow2Driver } from '../driver.ts'
import { compressCluster } from '../testing/fault-scenarios.ts'
import { bytesAt, createImage, filled, open, pattern } from '../testing/images.ts'
import type { Codecs } from './cluster-codec.ts'
import { DecompressedClusters } from './decompressed-clusters.ts'

const KIB = 1024
const CLUSTER = 64 * KIB

/** Half of it can be compressed away. */
const content = (seed: number): Uint8Array => {
  const cluster = filled(seed, CLUSTER)
  cluster.set(pattern(CLUSTER / 2, seed))
  return cluster
}

/** An image of `count` compressed clusters; counts what is decompressed, and what is read from the file. */
async function openCompressed(count: number, codecs?: Codecs) {
  const file = await createImage({ size: (count + 5) * CLUSTER })
  const plain = await open(file)
  for (let i = 0; i < count; i++) await plain.write(i * CLUSTER, content(i + 1))
  await plain.close()
  for (let i = 0; i < count; i++) await compressCluster(file, CLUSTER, i, content(i + 1))
  const counts = { inflated: 0, reads: 0, fails: 0 }
  const driver = createQcow2Driver({
    codecs: codecs ?? {
      zlib: {
        async decompress(data, clusterSize) {
          counts.inflated++
          if (counts.fails-- > 0) throw new Error('told to fail')
          return Uint8Array.from(inflateRawSync(data).subarray(0, clusterSize))
        },
      },
    },
  })
  const counter = defineDriver({
    name: 'counter',
    kind: 'filter',
    async open(context) {
      const child = await context.requireChild('file')
      return {
        ...forwardOps(child),
        async read(offset, into) {
          counts.reads++
          await child.read(offset, into)
        },
      }
    },
  })
  const registry = new DriverRegistry([memory, counter, driver])
  const node = await openNode(
    { registry, host: denyHost },
    { driver: 'qcow2', file: { driver: 'counter', file } },
  )
  return { node, counts }
}

describe('a read of several clusters', () => {
  /** Compressed clusters, written in that order, each of about half its size. */
  async function written(order: readonly number[]) {
    const { node, counts } = await openCompressed(0, {})
    for (const i of order) await node.writeCompressed(i * CLUSTER, content(i + 1))
    counts.reads = 0
    return { node, counts }
  }
  const all = (count: number): Uint8Array => {
    const bytes = new Uint8Array(count * CLUSTER)
    for (let i = 0; i < count; i++) bytes.set(content(i + 1), i * CLUSTER)
    return bytes
  }

  it('reads the data of neighbors at once', async () => {
    const { node, counts } = await written([0, 1, 2, 3, 4])
    expect(await bytesAt(node, 0, 5 * CLUSTER)).toEqual(all(5))
    expect(counts.reads).toBe(1)
    await node.close()
  })

  it('finds them wherever their data lies', async () => {
    const { node, counts } = await written([4, 0, 1, 3, 2])
    expect(await bytesAt(node, 0, 5 * CLUSTER)).toEqual(all(5))
    // Those of 0, 1 and 2 (with that of 3 between them), of 3, and of 4.
    expect(counts.reads).toBe(3)
    // Parts of clusters at both ends.
    expect(await bytesAt(node, 512, 4 * CLUSTER)).toEqual(all(5).slice(512, 4 * CLUSTER + 512))
    await node.close()
  })
})

const pieces = Array.from({ length: 16 }, (_, i) => i * 4 * KIB)

describe('16 reads of 4 KiB in one cluster of 64 KiB', () => {
  it.each([
    ['one after the other', true],
    ['at once', false],
  ])('%s, decompress it once', async (_, inOrder) => {
    const { node, counts } = await openCompressed(2)
    await bytesAt(node, 0, 512)
    counts.reads = 0
    const expected = content(2)
    const read = async (at: number): Promise<void> =>
      expect(await bytesAt(node, CLUSTER + at, 4 * KIB)).toEqual(expected.slice(at, at + 4 * KIB))
    if (inOrder) for (const at of pieces) await read(at)
    else await Promise.all(pieces.map(read))
    expect(counts.inflated).toBe(2)
    expect(counts.reads).toBe(1)
    await node.close()
  })
})

describe('clusters that were decompressed', () => {
  it('are as many as fit in 1 MiB; the one used last goes last', async () => {
    const { node, counts } = await openCompressed(18)
    for (let i = 0; i < 16; i++) await bytesAt(node, i * CLUSTER, 512)
    expect(counts.inflated).toBe(16)
    await bytesAt(node, 0, 512)
    expect(counts.inflated).toBe(16)
    await bytesAt(node, 16 * CLUSTER, 512)
    await bytesAt(node, 0, 512)
    expect(counts.inflated).toBe(17)
    await bytesAt(node, CLUSTER, 512)
    expect(counts.inflated).toBe(18)
    await node.close()
  })

  it('are not remembered when that failed', async () => {
    const { node, counts } = await openCompressed(1)
    counts.fails = 1
    const results = await Promise.allSettled([bytesAt(node, 0, 512), bytesAt(node, 512, 512)])
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    expect(await bytesAt(node, 512, 512)).toEqual(content(1).slice(512, 1024))
    expect(counts.inflated).toBe(2)
    await node.close()
  })

  it('are forgotten when a host cluster becomes free that they lie in, and no others', async () => {
    const clusters = new DecompressedClusters(CLUSTER)
    const loads: number[] = []
    const get = (offset: number, bytes: number) =>
      clusters.get(offset, bytes, async () => {
        loads.push(offset)
        return new Uint8Array(CLUSTER)
      })
    const all = [
      [CLUSTER, 1000],
      [2 * CLUSTER - 512, 1024],
      [3 * CLUSTER - 512, 512],
      [3 * CLUSTER, 512],
    ] as const
    const readAll = async (): Promise<number[]> => {
      loads.length = 0
      for (const [offset, bytes] of all) await get(offset, bytes)
      return [...loads]
    }
    expect(await readAll()).toHaveLength(4)
    expect(await readAll()).toEqual([])
    clusters.forget(2)
    expect(await readAll()).toEqual([2 * CLUSTER - 512, 3 * CLUSTER - 512])
    clusters.clear()
    expect(await readAll()).toHaveLength(4)
    // An entry of the same offset and another length is another cluster.
    await get(CLUSTER, 2000)
    expect(loads).toHaveLength(5)
  })

  it('are not kept where their clusters became free while they were read', async () => {
    const clusters = new DecompressedClusters(CLUSTER)
    let finish = (_: Uint8Array): void => undefined
    const first = clusters.get(CLUSTER, 512, () => new Promise((resolve) => (finish = resolve)))
    clusters.forget(1)
    const second = clusters.get(CLUSTER, 512, async () => filled(2, 4))
    finish(filled(1, 4))
    expect([await first, await second]).toEqual([filled(1, 4), filled(2, 4)])
    expect(await clusters.get(CLUSTER, 512, () => Promise.reject(new Error('unused')))).toEqual(filled(2, 4))
  })
})
