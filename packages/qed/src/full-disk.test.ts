/**
 * QED has no refcounts: clusters that a failed request allocated are lost for good unless they are released.
 * On a full disk, every request would lose some.
 */
import {
  type AnyDriver,
  BlockError,
  type BlockNode,
  DriverRegistry,
  denyHost,
  memory,
  openMemory,
  openNode,
  WriteLog,
  writeLog,
} from '@vmblock/block-core'
import { fullDisk, writeFilter } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import { createQedDriver } from './driver.ts'
import { createImage, filled, TestClock } from './testing/images.ts'

const CLUSTER = 4096
const SIZE = 64 * 2 ** 20
const FULL = { code: 'ENOSPC' }

const create = (): Promise<BlockNode> => createImage({ size: SIZE, cluster_size: CLUSTER, table_size: 1 })

async function openOver(file: BlockNode, filter: AnyDriver, backing: BlockNode | null) {
  const log = new WriteLog()
  const registry = new DriverRegistry([memory, writeLog, filter, createQedDriver({ clock: new TestClock() })])
  const node = await openNode(
    { registry, host: denyHost },
    {
      driver: 'qed',
      backing,
      file: { driver: 'write-log', log, file: { driver: filter.name, file } },
    },
  )
  return { node, log }
}

async function expectSound(file: BlockNode): Promise<void> {
  const registry = new DriverRegistry([memory, createQedDriver({ clock: new TestClock() })])
  const node = await openNode(
    { registry, host: denyHost },
    { driver: 'qed', readOnly: true, backing: null, file },
  )
  expect(await node.check()).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 })
  await node.close()
}

async function byteAt(node: BlockNode, offset: number): Promise<number> {
  const into = new Uint8Array(1)
  await node.read(offset, into)
  return into[0]!
}

describe.each(['alone', 'over a backing file'])('an image %s on a full disk', (kind) => {
  const below = (): BlockNode | null =>
    kind === 'alone' ? null : openMemory(filled(9, SIZE), { readOnly: true })

  test('gives back what it took and could not use', async () => {
    const file = await create()
    let most = file.size + 3 * CLUSTER
    const { node } = await openOver(
      file,
      fullDisk(() => most),
      below(),
    )
    await node.write(0, filled(1, 2 * CLUSTER))
    const { size } = file
    for (let i = 2; i < 6; i++) {
      await expect(node.write(i * CLUSTER, filled(2, CLUSTER))).rejects.toMatchObject(FULL)
      // Needs an L2 table for another part of the disk.
      await expect(node.write(i * 2 ** 21, filled(2, CLUSTER))).rejects.toMatchObject(FULL)
      expect(file.size).toBe(size)
    }
    most = Number.POSITIVE_INFINITY
    await node.write(2 * CLUSTER, filled(3, CLUSTER))
    await node.write(2 ** 22, filled(4, CLUSTER))
    expect([await byteAt(node, 0), await byteAt(node, 2 * CLUSTER), await byteAt(node, 2 ** 22)]).toEqual([
      1, 3, 4,
    ])
    await node.close()
    // A cluster, a table and a cluster.
    expect(file.size).toBe(size + 3 * CLUSTER)
    await expectSound(file)
  })

  test('finds what was given back before the end', async () => {
    const file = await create()
    let refused = -1
    /** Writes half of the data, and reports that there is no space. */
    const half = writeFilter('half', async (child, offset, from, flags) => {
      if (from[0] !== refused) return child.write(offset, from, flags)
      await child.write(offset, from.subarray(0, from.length / 2), flags)
      // The requests behind this one are written meanwhile.
      for (let i = 0; i < 100; i++) await Promise.resolve()
      throw new BlockError('ENOSPC', 'No space left on device')
    })
    const { node, log } = await openOver(file, half, below())
    await node.write(0, filled(1, CLUSTER))
    refused = 2
    const results = await Promise.allSettled([
      node.write(1 * CLUSTER, filled(2, CLUSTER)),
      node.write(2 * CLUSTER, filled(3, CLUSTER)),
      node.write(3 * CLUSTER, filled(2, CLUSTER)),
      node.write(4 * CLUSTER, filled(4, CLUSTER)),
    ])
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'rejected', 'fulfilled'])
    const { size } = file
    refused = -1
    log.clear()
    await node.write(1 * CLUSTER, filled(5, CLUSTER))
    await node.flush()
    // The cluster had other content: the data is durable before an entry points at it.
    const written = log.entries.findIndex(({ kind: what, bytes }) => what === 'write' && bytes === CLUSTER)
    const entry = log.entries.findIndex(({ kind: what }, i) => what === 'write' && i > written)
    expect(log.entries.slice(written, entry).some(({ kind: what }) => what === 'flush')).toBe(true)
    await node.write(3 * CLUSTER, filled(6, CLUSTER))
    expect(file.size).toBe(size)
    const shown: number[] = []
    for (let i = 0; i < 5; i++) shown.push(await byteAt(node, i * CLUSTER))
    expect(shown).toEqual([1, 5, 3, 6, 4])
    await node.close()
    await expectSound(file)
  })
})

test('tables that cannot be written count against their cache', async () => {
  const file = await createImage({ size: 2 ** 46, cluster_size: 65536, table_size: 4 })
  let broken = false
  const driver = writeFilter('broken-for-tables', async (child, offset, from, flags) => {
    if (broken && from.length !== 65536) throw new BlockError('EIO', 'told to fail')
    await child.write(offset, from, flags)
  })
  const { node, log } = await openOver(file, driver, null)
  // 32 MiB of slices of 4 KiB, each for 32 MiB of the disk.
  for (let i = 0; i < 9000; i += 64) await node.write(i * 2 ** 25, filled(1, 512))
  await node.flush()
  broken = true
  let failed = 0
  for (let i = 0; i < 9000; i++)
    await node.writeZeroes(i * 2 ** 25 + 65536, 65536).catch((error: BlockError) => {
      expect(error.code).toBe('EIO')
      failed++
    })
  broken = false
  log.clear()
  await node.flush()
  expect(failed).toBeGreaterThan(0)
  expect(log.count().writes).toBeLessThanOrEqual(8192 + 8)
  await node.close()
  await expectSound(file)
}, 60_000)
