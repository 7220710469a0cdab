/**
 * Writes never hit metadata that they are not meant for: broken images of QEMU's iotest 060, with QEMU's
 * messages, and every class and switch of the option.
 */

import { type BlockNode, type CorruptEvent, openNode, type RawOptions, reopenNode } from '@vmblock/block-core'
import { breakpointsOf } from '@vmblock/block-core/driver'
import { describe, expect, test } from 'vitest'
import {
  bytesAt,
  createImage,
  environment,
  filled,
  open,
  pattern,
  poke,
  sameBytes,
} from '../testing/images.ts'

/** The layout of `createImage` with clusters of 64 KiB. */
const AT = { refcountTable: 0x10000, refblock: 0x20000, l1: 0x30000, l2: 0x40000, data: 0x50000 }
const CLUSTER = 65536

/** Opens an image and records its warnings and events. */
async function opened(file: BlockNode, options: RawOptions = {}) {
  const warnings: string[] = []
  const events: CorruptEvent[] = []
  const node = await open(file, options)
  node.on('warn', (line) => warnings.push(line))
  node.on('corrupt', (event) => events.push(event))
  return { node, warnings, events }
}

const marked = (message: string): string =>
  `qcow2: Marking image as corrupt: ${message}; further corruption events will be suppressed`

const overlapsWith = (what: string): string => `Preventing invalid write on metadata (overlaps with ${what})`

const isCorrupt = async (file: BlockNode): Promise<boolean> => ((await bytesAt(file, 79, 1))[0]! & 2) !== 0

/** An entry with COPIED for a cluster. */
const entryFor = (offset: number): number[] => [
  0x80,
  0,
  0,
  0,
  ...[24, 16, 8, 0].map((bit) => (offset >> bit) & 255),
]

/** An image whose first guest cluster lies at `host`, where there is metadata. */
async function misdirected(host: number): Promise<BlockNode> {
  const file = await createImage({ size: 2 ** 26 })
  const node = await open(file)
  await node.write(0, pattern(CLUSTER))
  await node.close()
  await poke(file, AT.l2, entryFor(host))
  return file
}

const METADATA = [
  [0, 'qcow2_header', 'main-header'],
  [AT.refcountTable, 'refcount table', 'refcount-table'],
  [AT.refblock, 'refcount block', 'refcount-block'],
  [AT.l1, 'active L1 table', 'active-l1'],
  [AT.l2, 'active L2 table', 'active-l2'],
] as const

describe('a data cluster that lies on metadata', () => {
  test.each(METADATA.slice(1))('at 0x%x is not written: %s', async (host, what) => {
    const file = await misdirected(host)
    const before = await bytesAt(file, host, CLUSTER)
    const { node, warnings, events } = await opened(file)
    const message = overlapsWith(what)
    await expect(node.write(1000, filled(1, 512))).rejects.toMatchObject({ code: 'EIO', message })
    expect(warnings).toEqual([marked(message)])
    expect(events).toEqual([{ message, fatal: true, offset: host + 1000, size: 512 }])
    expect(await isCorrupt(file)).toBe(true)
    await expect(node.read(0, new Uint8Array(1))).rejects.toMatchObject({ code: 'ENOMEDIUM' })
    await node.close()
    expect(sameBytes(await bytesAt(file, host, CLUSTER), before)).toBe(true)
    await expect(open(file)).rejects.toMatchObject({
      code: 'EACCES',
      message: expect.stringContaining('qcow2: Image is corrupt; cannot be opened read/write'),
    })
    await (await open(file, { readOnly: true })).close()
  })

  test.each(METADATA.slice(1))(
    'at 0x%x is written where the check is switched off: %s, %s',
    async (host, _, option) => {
      const { node } = await opened(await misdirected(host), { [`overlap-check.${option}`]: false })
      await node.write(0, filled(1, 512))
      await node.crash()
    },
  )

  test.each([
    ['none', [], [1, 2, 3, 4]],
    ['constant', [1, 3], [2, 4]],
    ['cached', [1, 2, 3, 4], []],
    ['all', [1, 2, 3, 4], []],
  ] as const)('template %s', async (template, refused, written) => {
    for (const index of refused) {
      const { node } = await opened(await misdirected(METADATA[index]![0]), { 'overlap-check': template })
      await expect(node.write(0, filled(1, 512))).rejects.toMatchObject({ code: 'EIO' })
      await node.crash()
    }
    for (const index of written) {
      const file = await misdirected(METADATA[index]![0])
      const { node } = await opened(file, { 'overlap-check': { template } })
      await node.write(0, filled(1, 512))
      await node.crash()
    }
  })
})

describe('a cluster that counts as free', () => {
  /** An image with an L2 table in which the refcount of one cluster is set to 0. */
  async function withFree(cluster: number, used = true): Promise<BlockNode> {
    const file = await createImage({ size: 2 ** 26 })
    const node = await open(file)
    if (used) await node.write(0, pattern(CLUSTER))
    await node.close()
    await poke(file, AT.refblock + cluster * 2, [0, 0])
    return file
  }

  test.each(METADATA)('is not given to a guest: 0x%x, %s', async (host, what) => {
    const { node, warnings } = await opened(await withFree(host / CLUSTER))
    await expect(node.write(CLUSTER, filled(1, CLUSTER))).rejects.toMatchObject({ code: 'EIO' })
    expect(warnings).toEqual([marked(overlapsWith(what))])
    await node.close()
  })

  test('is not made an L2 table at offset 0', async () => {
    const { node, warnings } = await opened(await withFree(0, false))
    await expect(node.write(0, filled(1, 512))).rejects.toMatchObject({ code: 'EIO' })
    expect(warnings).toEqual([marked('Preventing invalid allocation of L2 table at offset 0')])
    await node.close()
  })

  test('is not made a refcount block where the refcount table is', async () => {
    const file = await createImage({ size: 2 ** 26 })
    await poke(file, AT.refcountTable, [0, 0, 0, 0, 0, 0, 0, 0])
    const { node, warnings } = await opened(file)
    await expect(node.write(0, filled(1, 512))).rejects.toMatchObject({ code: 'EIO' })
    expect(warnings).toEqual([marked(overlapsWith('refcount table'))])
    await node.close()
  })

  test('stops requests that are on their way, too', async () => {
    const base = await createImage({ size: 2 ** 30 })
    const below = await open(base)
    await below.write(0, pattern(CLUSTER))
    const file = await createImage({ size: 2 ** 30 })
    const node = await openNode(environment, { driver: 'qcow2', file, backing: below })
    await node.write(0, pattern(CLUSTER))
    await node.write(2 ** 29, pattern(CLUSTER))
    await node.close()
    // The first data cluster is free, and the following cluster, the second L2 table, has refcount 0.
    await poke(file, AT.l2, [0, 0, 0, 0, 0, 0, 0, 0])
    await poke(file, AT.refblock + 10, [0, 0, 0, 0])
    const debug = await openNode(environment, { driver: 'blkdebug', image: file })
    const again = await openNode(environment, { driver: 'qcow2', file: debug, backing: below })
    const breakpoints = breakpointsOf(debug)
    breakpoints!.set('cow_read', 'a')
    const slow = again.write(0, filled(3, 100)).catch((error: unknown) => error)
    await breakpoints!.wait('a')
    await expect(again.write(CLUSTER, filled(3, CLUSTER))).rejects.toMatchObject({
      code: 'EIO',
      message: overlapsWith('active L2 table'),
    })
    breakpoints!.resume('a')
    expect(await slow).toMatchObject({ code: 'ENOMEDIUM' })
    await again.crash()
  })
})

describe('new tables', () => {
  test('are protected from the moment they are linked', async () => {
    const file = await createImage({ size: 2 ** 22, cluster_size: 512 })
    const { node } = await opened(file)
    await node.write(0, pattern(512))
    // Tables and blocks are created; each write is checked against all of them.
    for (let at = 0; at < 2 ** 22; at += 2 ** 15) await node.write(at, pattern(512, at + 1))
    await node.flush()
    const l1Offset = Number(new DataView((await bytesAt(file, 40, 8)).buffer).getBigUint64(0))
    const l1 = new DataView((await bytesAt(file, l1Offset, 16)).buffer)
    const second = l1.getUint32(12)
    const table = l1.getUint32(4)
    await node.close()
    await poke(file, table, entryFor(second))
    const again = await opened(file)
    await expect(again.node.write(0, filled(1, 512))).rejects.toMatchObject({
      message: overlapsWith('active L2 table'),
    })
    await again.node.close()
  })
})

describe('the options', () => {
  const refused = (options: RawOptions): Promise<unknown> =>
    createImage({ size: 2 ** 20 }).then((file) => open(file, options))

  test.each([
    [
      { 'overlap-check': 'foo' },
      "Unsupported value 'foo' for qcow2 option 'overlap-check'. Allowed are any of the following: none, constant, cached, all",
    ],
    [
      { 'overlap-check.template': 'toString' },
      "Unsupported value 'toString' for qcow2 option 'overlap-check'. Allowed are any of the following: none, constant, cached, all",
    ],
    [
      { 'overlap-check': 'none', 'overlap-check.template': 'all' },
      "Conflicting values for qcow2 options 'overlap-check' ('none') and 'overlap-check.template' ('all')",
    ],
    [{ 'overlap-check.active-l1': 'maybe' }, "Parameter 'overlap-check.active-l1' expects 'on' or 'off'"],
    [{ 'overlap-check.foo': 'on' }, "Block format 'qcow2' does not support the option 'overlap-check.foo'"],
    [{ 'cache-clean-interval': '-1' }, 'Cache clean interval too big'],
    [{ 'cache-clean-interval': 5_000_000_000 }, 'Cache clean interval too big'],
    [{ 'cache-clean-interval': 'x' }, "Parameter 'cache-clean-interval' expects a number"],
    [{ refcountCacheSize: '256T' }, 'Refcount cache size too big'],
    [
      { 'l2-cache-entry-size': 256 },
      'L2 cache entry size must be a power of two between 512 and the cluster size (65536)',
    ],
    [{ cacheSize: '1M', l2CacheSize: '2M' }, 'l2-cache-size may not exceed cache-size'],
  ])('%j', async (options, message) => {
    await expect(refused(options)).rejects.toMatchObject({
      code: 'EINVAL',
      message: expect.stringContaining(message),
    })
  })

  test('change by a reopen, which keeps what it does not name', async () => {
    const file = await misdirected(AT.refblock)
    const { node } = await opened(file, { 'overlap-check': 'none', cacheSize: '1M' })
    await node.write(0, filled(0, 512))
    await reopenNode(node, { options: { 'overlap-check.active-l1': true, l2CacheSize: '2M' } })
    await node.write(0, filled(0, 512))
    await reopenNode(node, { options: { 'overlap-check.refcount-block': true } })
    await expect(node.write(0, filled(0, 512))).rejects.toMatchObject({
      message: overlapsWith('refcount block'),
    })
    await node.crash()
  })

  test('caches change their sizes with tables in them', async () => {
    const file = await createImage({ size: 2 ** 24, cluster_size: 4096 })
    const { node } = await opened(file)
    const content = pattern(2 ** 20)
    await node.write(0, content)
    for (const options of [
      { 'l2-cache-entry-size': 512 },
      { l2CacheSize: 1024, refcountCacheSize: 1024 },
      { cacheSize: '2M' },
      { 'l2-cache-entry-size': 4096, 'cache-clean-interval': 1 },
      { 'cache-clean-interval': 0 },
    ] as RawOptions[]) {
      await node.write(2 ** 21, pattern(10_000, 7))
      await reopenNode(node, { options })
      expect(sameBytes(await bytesAt(node, 0, 2 ** 20), content)).toBe(true)
      await node.write(2 ** 23, pattern(100_000, 9))
    }
    expect(await node.check()).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 })
    await node.close()
  })
})
