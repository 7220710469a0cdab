/**
 * Power cuts while refcounts are raised ahead (`refcount-reserve`), in addition to the workloads of
 * crash-requests.test.ts: no more clusters leak than were reserved or in flight, and a request that uses
 * refcounts raised by another one waits for its own data.
 */

import { type BlockNode, openMemory, type WriteLog } from '@vmblock/block-core'
import type { NodeOps } from '@vmblock/block-core/driver'
import { opsOf } from '@vmblock/block-core/driver'
import {
  CrashDisk,
  type CrashPlan,
  crashStates,
  createRandom,
  nodeOf,
  toBytes,
} from '@vmblock/block-core/testing'
import { expect, test } from 'vitest'
import { createImage, findings, openLogged } from '../testing/images.ts'

const CLUSTER = 512
const SIZE = 512 * 1024
const RESERVED = 24

/** The findings of a check in each disk that a power cut may leave. */
async function* findingsOf(base: Uint8Array, log: WriteLog, plan: CrashPlan) {
  const disk = new CrashDisk()
  disk.write(0, base)
  for (const { disks, moment, story } of crashStates(new Map([['', disk]]), log, plan)) {
    const left = disks.get('')!
    const bytes = new Uint8Array(left.size)
    left.read(0, bytes)
    const { lines, ...report } = await findings(openMemory(bytes))
    yield { report, where: `${moment}: ${story()}\n${lines.join('\n')}` }
  }
}

test('of one write after the other leak what is reserved, and one request, at most', async () => {
  const file = await createImage({ size: SIZE, cluster_size: CLUSTER })
  const base = await toBytes(file)
  const { node, log } = await openLogged(file, {
    'refcount-reserve': RESERVED,
    cache: { writeback: false },
  })
  for (let i = 0; i < 80; i++) await node.write(i * CLUSTER, new Uint8Array(CLUSTER).fill(i + 1))
  await node.crash()
  let most = 0
  const plan = { random: createRandom(3), moments: 400, disksPerMoment: 8 }
  for await (const { report, where } of findingsOf(base, log, plan)) {
    expect(report.corruptions, where).toBe(0)
    most = Math.max(most, report.leaks)
  }
  // The request's cluster and its L2 table.
  expect(most).toBeGreaterThanOrEqual(RESERVED)
  expect(most).toBeLessThanOrEqual(RESERVED + 2)
})

/** A disk that holds back guest data of one byte value until it is released. */
function slowDisk(node: BlockNode) {
  const ops = opsOf(node)
  const gates = new Map<number, Promise<void>>()
  const hold = (byte: number): (() => void) => {
    let letGo!: () => void
    gates.set(byte, new Promise((resolve) => (letGo = resolve)))
    return letGo
  }
  const slow: NodeOps = {
    growable: true,
    size: () => ops.size(),
    read: (offset, into) => ops.read(offset, into),
    flush: () => Promise.resolve(),
    truncate: (size, options) => ops.truncate!(size, options),
    async write(offset, from, flags) {
      if (from.every((byte) => byte === from[0])) await gates.get(from[0]!)
      await ops.write!(offset, from, flags)
    },
  }
  return { file: nodeOf(slow), hold }
}

test.each([0, RESERVED])(
  'a write whose refcounts another one made durable waits for its data, %i reserved',
  async (reserve) => {
    const disk = await createImage({ size: SIZE, cluster_size: CLUSTER })
    const { file, hold } = slowDisk(disk)
    const { node, log } = await openLogged(file, {
      'refcount-reserve': reserve,
      cache: { writeback: false },
    })
    const write = (cluster: number, byte: number): Promise<void> =>
      node.write(cluster * CLUSTER, new Uint8Array(CLUSTER).fill(byte))
    await write(0, 1)
    const base = await toBytes(disk)
    log.clear()
    const [first, second] = [hold(0xa1), hold(0xa2)]
    const writes = [write(1, 0xa1), write(2, 0xa2)]
    for (let i = 0; i < 100; i++) await Promise.resolve()
    // The first flush makes the refcounts of both durable, but not the second data, which ends the file.
    first()
    await writes[0]
    second()
    await writes[1]
    const plan = { random: createRandom(1), moments: 1000, disksPerMoment: 64 }
    for await (const { report, where } of findingsOf(base, log, plan))
      expect(report, where).toMatchObject({ corruptions: 0 })
    await node.close()
    expect(await findings(disk)).toMatchObject({ corruptions: 0, leaks: 0 })
  },
)
