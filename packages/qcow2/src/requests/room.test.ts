/**
 * Freed clusters that wait for a flush are bounded, no request fails for lack of space while a flush would
 * free some, and tables that cannot be written count against their cache.
 */
import {
  type AnyDriver,
  BlockError,
  type BlockNode,
  DriverRegistry,
  denyHost,
  memory,
  openNode,
  type RawOptions,
  WriteLog,
  writeLog,
} from '@vmblock/block-core'
import { fullDisk, writeFilter } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import { qcow2 } from '../driver.ts'
import { bytesAt, createImage, filled, findings, open, openLogged, SAFE, SOUND } from '../testing/images.ts'

const CLUSTER = 65536
const MIB = 2 ** 20

/** An image over a filter, over a log, over `file`. */
async function openOver(file: BlockNode, filter: AnyDriver, options: RawOptions = {}) {
  const log = new WriteLog({ recordData: false })
  const registry = new DriverRegistry([memory, writeLog, filter, qcow2])
  const node = await openNode(
    { registry, host: denyHost },
    {
      driver: 'qcow2',
      discard: 'unmap',
      file: { driver: filter.name, file: { driver: 'write-log', log, file } },
      ...options,
    },
  )
  return { node, log }
}

/** The ways in which a guest frees its first cluster. */
const WAYS: readonly [string, (node: BlockNode) => Promise<void>][] = [
  ['discard', (node) => node.discard(0, CLUSTER)],
  ['zeroes that unmap', (node) => node.writeZeroes(0, CLUSTER, { mayUnmap: true })],
]

describe.each([{ lazy_refcounts: 'off' }, { lazy_refcounts: 'on' }])('an image with %o', (create) => {
  test.each(WAYS)(
    'that is written and given up again and again is flushed now and then: %s',
    async (_, giveUp) => {
      const file = await createImage({ size: 2 ** 30, ...create })
      const { node, log } = await openLogged(file)
      for (let i = 0; i < 1000; i++) {
        await node.write(0, filled(1, CLUSTER))
        await giveUp(node)
      }
      // 257 clusters are more than 16 MiB.
      const { flushes } = log.count()
      expect(flushes).toBeGreaterThanOrEqual(3)
      expect(flushes).toBeLessThanOrEqual(create.lazy_refcounts === 'on' ? 16 : 8)
      await node.crash()
      const { leaks } = await findings(file)
      expect(leaks).toBeLessThanOrEqual(260)
    },
  )

  test.each([0, 10 * CLUSTER])('keeps no more than %i bytes of freed clusters', async (most) => {
    const file = await createImage({ size: 2 ** 30, ...create })
    const node = await open(file, { 'freed-clusters-size': most })
    for (let i = 0; i < 100; i++) {
      await node.write(0, filled(1, CLUSTER))
      await node.discard(0, CLUSTER)
    }
    await node.crash()
    const { leaks } = await findings(file)
    // The freed clusters, and those in use or freed by a running request.
    expect(leaks).toBeLessThanOrEqual(most / CLUSTER + 3)
  })

  test.each(WAYS)('on a full disk goes on as long as anything was given up: %s', async (_, giveUp) => {
    const file = await createImage({ size: 2 ** 30, ...create })
    // Four clusters of metadata, one L2 table, and two of data.
    const { node } = await openOver(
      file,
      fullDisk(() => 7 * CLUSTER),
    )
    for (let i = 0; i < 100; i++) {
      await node.write(0, filled(i, CLUSTER))
      await giveUp(node)
    }
    await node.write(0, filled(7, CLUSTER))
    await node.flush()
    await node.close()
    const again = await open(file)
    expect(await bytesAt(again, 0, 4)).toEqual(filled(7, 4))
    await again.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test('that many write at once on a full disk finds room for each', async () => {
    const file = await createImage({ size: 2 ** 30, ...create })
    const { node } = await openOver(
      file,
      fullDisk(() => 13 * CLUSTER),
    )
    const worker = async (at: number): Promise<void> => {
      for (let i = 0; i < 50; i++) {
        await node.write(at * CLUSTER, filled(at + 1, CLUSTER))
        await node.discard(at * CLUSTER, CLUSTER)
      }
      await node.write(at * CLUSTER, filled(at + 1, CLUSTER))
    }
    await Promise.all(Array.from({ length: 8 }, (_, at) => worker(at)))
    for (let at = 0; at < 8; at++) expect(await bytesAt(node, at * CLUSTER, 1)).toEqual(filled(at + 1, 1))
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test('on a full disk finds room for a request whose clusters are not in a row', async () => {
    const file = await createImage({ size: 2 ** 30, ...create })
    const { node } = await openOver(
      file,
      fullDisk(() => 14 * CLUSTER),
    )
    await node.write(0, filled(1, 8 * CLUSTER))
    for (let at = 0; at < 8; at += 2) await node.discard(at * CLUSTER, CLUSTER)
    await node.write(100 * CLUSTER + 512, filled(2, 3 * CLUSTER))
    expect(await bytesAt(node, 100 * CLUSTER + 512, 3 * CLUSTER)).toEqual(filled(2, 3 * CLUSTER))
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test('that is really full says so, flushes and closes, and goes on when there is space', async () => {
    const file = await createImage({ size: 2 ** 30, ...create })
    let most = 10 * CLUSTER
    const { node } = await openOver(
      file,
      fullDisk(() => most),
    )
    const full = { code: 'ENOSPC' }
    for (let i = 0; i < 5; i++) await node.write(i * CLUSTER, filled(i + 1, CLUSTER))
    for (let i = 5; i < 8; i++)
      await expect(node.write(i * CLUSTER, filled(1, CLUSTER))).rejects.toMatchObject(full)
    await node.flush()
    most = 11 * CLUSTER
    await node.write(5 * CLUSTER, filled(6, CLUSTER))
    await node.discard(0, CLUSTER)
    await node.truncate(2 ** 31)
    await node
      .write(2 ** 30, filled(9, CLUSTER))
      .catch((error: BlockError) => expect(error.code).toBe('ENOSPC'))
    await node.close()
    expect(await findings(file)).toMatchObject(SAFE)
  })
})

test('a new table has its space before anything leads to it', async () => {
  const file = await createImage({ size: 2 ** 36 })
  const { node, log } = await openLogged(file)
  await node.write(0, filled(1, CLUSTER))
  const taken = log.entries.filter(({ kind }) => kind === 'write-zeroes')
  expect(taken).toMatchObject([{ bytes: CLUSTER, mayUnmap: false }])
  await node.close()
})

/** While it is broken, writes that are not whole clusters fail: those of tables. */
function brokenForTables() {
  const state = { broken: false }
  const driver = writeFilter('broken-for-tables', async (child, offset, from, flags) => {
    if (state.broken && from.length !== CLUSTER) throw new BlockError('EIO', 'told to fail')
    await child.write(offset, from, flags)
  })
  return { state, driver }
}

describe.each(['off', 'on'])('tables that cannot be written, lazy_refcounts=%s', (lazy) => {
  test('count against their cache, and nothing is lost when they can', async () => {
    const file = await createImage({ size: 2 ** 40, lazy_refcounts: lazy })
    const { state, driver } = brokenForTables()
    // 16 slices of L2 tables.
    const { node, log } = await openOver(file, driver, { l2CacheSize: 65536 })
    for (let i = 0; i <= 200; i++) await node.write(i * 512 * MIB, filled(1, CLUSTER))
    await node.flush()
    const written = new Set<number>()
    state.broken = true
    let failed = 0
    for (let i = 1; i <= 200; i++) {
      const at = i * 512 * MIB + CLUSTER
      await node.write(at, filled(i, CLUSTER)).then(
        () => written.add(i),
        (error: BlockError) => {
          expect(error.code).toBe('EIO')
          failed++
        },
      )
    }
    expect(failed).toBeGreaterThanOrEqual(200 - 16)
    await expect(node.flush()).rejects.toMatchObject({ code: 'EIO' })
    // An allocated cluster needs no change of tables.
    await node.write(0, filled(2, CLUSTER))
    state.broken = false
    log.clear()
    await node.flush()
    // Slices of L2 tables and of refcounts, and the L1 table: each once.
    expect(log.count().writes).toBeLessThanOrEqual(16 + 16 + 2)
    for (const i of written) expect(await bytesAt(node, i * 512 * MIB + CLUSTER, 1)).toEqual(filled(i, 1))
    await node.write(300 * 512 * MIB, filled(3, CLUSTER))
    await node.close()
    expect(await findings(file)).toMatchObject(SAFE)
  })

  test('keep freed clusters from piling up', async () => {
    const file = await createImage({ size: 2 ** 30, lazy_refcounts: lazy })
    const { state, driver } = brokenForTables()
    const { node } = await openOver(file, driver, { 'freed-clusters-size': 8 * CLUSTER })
    for (let i = 0; i < 64; i++) await node.write(i * CLUSTER, filled(1, CLUSTER))
    await node.flush()
    state.broken = true
    let given = 0
    for (let i = 0; i < 64; i++)
      await node.discard(i * CLUSTER, CLUSTER).then(
        () => given++,
        (error: BlockError) => expect(error.code).toBe('EIO'),
      )
    expect(given).toBe(9)
    state.broken = false
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })
})
