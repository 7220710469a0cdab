/**
 * Images that QEMU's programs filled (snapshots, compressed clusters, bitmaps, holes), compacted by ours: disk and
 * snapshots hold what they held, QEMU's check finds nothing, and no file is longer than before.
 */
import { statSync } from 'node:fs'
import { createRandom, type Random } from '@vmblock/block-core/testing'
import { afterAll, describe, expect, test } from 'vitest'
import { haveQemu, openBench } from '../support/real-qemu.ts'
import { openOurs } from './src/ours.ts'

const bench = openBench()
const { directory } = bench
afterAll(() => bench.remove())

/** Seeds: a sample, or many at length. */
const SEEDS = process.env['LONG'] ? 200 : 10
const KiB = 1024

/** Options of `qemu-img create`, and the size of clusters. */
const KINDS: readonly (readonly [options: string, cluster: number])[] = [
  ['cluster_size=64k', 64 * KiB],
  ['cluster_size=4k', 4 * KiB],
  ['cluster_size=512', 512],
  ['cluster_size=16k,extended_l2=on', 16 * KiB],
  ['cluster_size=4k,lazy_refcounts=on', 4 * KiB],
  ['cluster_size=4k,refcount_bits=64', 4 * KiB],
  ['cluster_size=1k,refcount_bits=8', KiB],
  ['compat=0.10,cluster_size=4k', 4 * KiB],
  ['cluster_size=4k,compression_type=zstd', 4 * KiB],
  ['cluster_size=4k,preallocation=metadata', 4 * KiB],
]

/** Random requests for qemu-io, in one call. */
function fill(random: Random, cluster: number, size: number, count: number): void {
  const commands: string[] = []
  const clusters = size / cluster
  for (let i = 0; i < count; i++) {
    const at = random.int(0, clusters)
    const length = Math.min(random.int(1, 1 + clusters / 16), clusters - at) * cluster
    const pattern = random.int(1, 255)
    const range = `${at * cluster} ${length}`
    commands.push(
      random.pick([
        `write -P ${pattern} ${range}`,
        `write -P ${pattern} ${at * cluster + 512 * random.int(0, cluster / 512)} 512`,
        `write -z -u ${range}`,
        `write -z ${range}`,
        `discard ${range}`,
        `discard ${range}`,
        // Only where nothing is allocated: failures do not matter.
        `write -c -P ${pattern} ${at * cluster} ${cluster}`,
        `write -c -P ${pattern} ${at * cluster} ${cluster}`,
      ]),
    )
  }
  const words = commands.flatMap((command) => ['-c', command])
  bench.attempt('qemu-io', '-f', 'qcow2', '-d', 'unmap', 'disk.qcow2', ...words)
}

function giveUp(random: Random, cluster: number, size: number): void {
  const commands: string[] = []
  for (let at = 0; at < size; at += cluster * random.int(1, 8))
    commands.push('-c', `discard ${at} ${Math.min(cluster * random.int(1, 4), size - at)}`)
  bench.attempt('qemu-io', '-f', 'qcow2', '-d', 'unmap', 'disk.qcow2', ...commands)
}

/** Whether our programs keep bitmaps of an image that they write. */
async function keepsBitmaps(): Promise<boolean> {
  bench.run('qemu-img', 'create', '-q', '-f', 'qcow2', 'bitmap.qcow2', '1M')
  bench.run('qemu-img', 'bitmap', '--add', 'bitmap.qcow2', 'b')
  await (await openOurs(`${directory}/bitmap.qcow2`, 'qcow2')).close()
  // The autoclear bit, with which bitmaps count.
  return (bench.read('bitmap.qcow2')[95]! & 1) !== 0
}

/** The content of the disk, or of a snapshot, as QEMU reads it. */
function content(snapshot?: string): Buffer {
  const of = snapshot === undefined ? [] : ['-l', snapshot]
  bench.run('qemu-img', 'convert', '-f', 'qcow2', '-O', 'raw', ...of, 'disk.qcow2', 'content.raw')
  return bench.read('content.raw') as Buffer
}

describe.skipIf(!haveQemu)('compacting images that QEMU made', () => {
  test.each(Array.from({ length: SEEDS }, (_, i) => i + 1))('seed %i', async (seed) => {
    const random = createRandom(seed)
    const [options, cluster] = KINDS[seed % KINDS.length]!
    const size = cluster < 4 * KiB ? 512 * KiB : 128 * cluster
    bench.run('qemu-img', 'create', '-q', '-f', 'qcow2', '-o', options, 'disk.qcow2', String(size))
    const names: string[] = []
    const keeps = await keepsBitmaps()
    const isVersion2 = options.includes('0.10')
    for (let round = 0; round < 4; round++) {
      fill(random, cluster, size, 24)
      if (random.chance(0.6)) {
        names.push(`s${round}`)
        bench.run('qemu-img', 'snapshot', '-c', `s${round}`, 'disk.qcow2')
      } else if (!isVersion2 && keeps) {
        const add = ['--add', ...(random.chance(0.5) ? ['--disable'] : []), '-g', '512']
        bench.run('qemu-img', 'bitmap', ...add, 'disk.qcow2', `b${round}`)
      }
    }
    const bitmaps = bench.run('qemu-img', 'info', '--output=json', 'disk.qcow2')
    if (names.length > 1 && random.chance(0.5) && !bitmaps.includes('"bitmaps"'))
      bench.run('qemu-img', 'snapshot', '-d', names.shift()!, 'disk.qcow2')
    // Many holes, so that much has to be moved.
    giveUp(random, cluster, size)
    const before = [undefined, ...names].map(content)
    const length = statSync(`${directory}/disk.qcow2`).size

    const node = await openOurs(`${directory}/disk.qcow2`, 'qcow2')
    const report = await node.compact()
    await node.close()

    const after = statSync(`${directory}/disk.qcow2`).size
    expect(after).toBeLessThanOrEqual(length)
    expect(report).toMatchObject({ sizeBefore: length, sizeAfter: after })
    for (const [i, name] of [undefined, ...names].entries())
      expect(Buffer.compare(content(name), before[i]!), `content of ${name ?? 'the disk'}`).toBe(0)
    const check = JSON.parse(bench.run('qemu-img', 'check', '--output=json', 'disk.qcow2'))
    expect(check).not.toHaveProperty('leaks')
    expect(check).not.toHaveProperty('corruptions')
    expect(check['check-errors']).toBe(0)
  })
})
