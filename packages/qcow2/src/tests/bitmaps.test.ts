/** Persistent bitmaps: what they record, and what becomes of them when the image is closed, or not. */
import {
  BlockError,
  type BlockNode,
  bitmapsOf,
  commitNode,
  DriverRegistry,
  denyHost,
  openNode,
  reopenNode,
  snapshotsOf,
} from '@vmblock/block-core'
import { aroundRequests, defineDriver, forwardOps } from '@vmblock/block-core/driver'
import { describe, expect, test } from 'vitest'
import { qcow2 } from '../driver.ts'
import {
  bytesAt,
  createImage,
  environment,
  findings,
  open,
  openLogged,
  pattern,
  poke,
  SOUND,
} from '../testing/images.ts'

const KIB = 1024
const MIB = KIB * KIB
const BLOCK = 64 * KIB
const SIZE = 8 * MIB

/** An image with an enabled bitmap 'b' and a disabled one 'off'. */
async function imageWithBitmaps(options = {}): Promise<BlockNode> {
  const file = await createImage({ size: SIZE, ...options })
  const node = await open(file)
  const bitmaps = bitmapsOf(node)
  await bitmaps.add('b')
  await bitmaps.add('off', { disabled: true, granularity: 4096 })
  await node.close()
  return file
}

const dirty = async (node: BlockNode, name = 'b') => bitmapsOf(node).dirtyRanges(name)
const states = async (node: BlockNode) =>
  (await bitmapsOf(node).list()).map(({ name, enabled, inconsistent }) => ({ name, enabled, inconsistent }))

/** What a reader finds. */
async function later(file: BlockNode) {
  const node = await open(file, { readOnly: true })
  const list = await states(node)
  const ranges = list.some(({ name, inconsistent }) => name === 'b' && !inconsistent)
    ? await dirty(node)
    : undefined
  await node.close()
  expect(await findings(file)).toMatchObject(SOUND)
  return { list, ranges }
}

const CONSISTENT = [
  { name: 'b', enabled: true, inconsistent: false },
  { name: 'off', enabled: false, inconsistent: false },
]

describe('a bitmap', () => {
  test('records every kind of change, and is saved', async () => {
    const file = await imageWithBitmaps()
    const node = await open(file, { backing: null })
    await node.write(BLOCK + 10, pattern(10))
    await node.writeZeroes(3 * BLOCK, 512)
    await node.discard(5 * BLOCK, 2 * BLOCK)
    await node.write(9 * BLOCK, pattern(512), { fua: true })
    const expected = [
      { offset: BLOCK, bytes: BLOCK },
      { offset: 3 * BLOCK, bytes: BLOCK },
      { offset: 5 * BLOCK, bytes: 2 * BLOCK },
      { offset: 9 * BLOCK, bytes: BLOCK },
    ]
    expect(await dirty(node)).toEqual(expected)
    expect(await dirty(node, 'off')).toEqual([])
    await node.close()
    expect(await later(file)).toEqual({ list: CONSISTENT, ranges: expected })
    // It goes on with what it had.
    const again = await open(file)
    await again.write(0, pattern(1))
    await again.close()
    expect((await later(file)).ranges).toEqual([{ offset: 0, bytes: 2 * BLOCK }, ...expected.slice(1)])
  })

  test('is inconsistent after a crash, and one that nothing changed is not', async () => {
    const file = await imageWithBitmaps()
    const node = await open(file)
    await node.write(0, pattern(512))
    await node.crash()
    const [b, off] = CONSISTENT
    expect((await later(file)).list).toEqual([{ ...b, inconsistent: true }, off])
    const again = await open(file)
    const bitmaps = bitmapsOf(again)
    await again.write(0, pattern(512))
    for (const refused of [
      bitmaps.clear('b'),
      bitmaps.enable('b'),
      bitmaps.disable('b'),
      bitmaps.merge('b', 'off'),
      bitmaps.merge('off', 'b'),
      bitmaps.dirtyRanges('b'),
    ])
      await expect(refused).rejects.toMatchObject({
        code: 'EINVAL',
        message: "Bitmap 'b' is inconsistent and cannot be used",
        hint: 'Try block-dirty-bitmap-remove to delete this bitmap from disk',
      })
    await bitmaps.remove('b')
    await again.close()
    expect((await later(file)).list).toEqual([off])
  })

  test('is exact after a crash of a session that changed nothing', async () => {
    const file = await imageWithBitmaps()
    const node = await open(file)
    await node.read(0, new Uint8Array(512))
    await node.flush()
    await node.crash()
    expect((await later(file)).list).toEqual(CONSISTENT)
  })

  test('costs no write in a session that changes nothing', async () => {
    const file = await imageWithBitmaps()
    const { node, log } = await openLogged(file)
    await node.flush()
    await node.close()
    expect(log.entries.filter(({ kind }) => kind !== 'flush')).toEqual([])
  })

  test('is marked, durably, before the first write reaches the disk', async () => {
    const file = await imageWithBitmaps()
    const { node, log } = await openLogged(file)
    await Promise.all([node.write(0, pattern(512)), node.write(BLOCK, pattern(512))])
    const kinds = log.entries.map(({ kind }) => kind)
    expect(kinds.slice(0, 2)).toEqual(['write', 'flush'])
    expect(log.entries[2]!.submitted).toBeGreaterThan(log.entries[1]!.completed!)
    await node.crash()
  })

  test.each(['clear', 'enable', 'disable'] as const)('is marked before %s', async (operation) => {
    const file = await imageWithBitmaps()
    const node = await open(file)
    await bitmapsOf(node)[operation]('off')
    await node.crash()
    const [b, off] = CONSISTENT
    expect((await later(file)).list).toEqual([b, { ...off, inconsistent: true }])
  })

  test('is enabled, disabled, cleared and merged', async () => {
    const file = await imageWithBitmaps()
    const node = await open(file)
    const bitmaps = bitmapsOf(node)
    await node.write(0, pattern(512))
    await bitmaps.disable('b')
    await bitmaps.enable('off')
    await node.write(BLOCK, pattern(512))
    expect(await dirty(node)).toEqual([{ offset: 0, bytes: BLOCK }])
    expect(await dirty(node, 'off')).toEqual([{ offset: BLOCK, bytes: 4096 }])
    await bitmaps.merge('b', 'off')
    await bitmaps.clear('off')
    await node.close()
    expect((await later(file)).ranges).toEqual([{ offset: 0, bytes: 2 * BLOCK }])
  })

  test('is merged from another image', async () => {
    const source = await open(await imageWithBitmaps())
    await source.write(4 * BLOCK, pattern(512))
    const target = await open(await imageWithBitmaps())
    await bitmapsOf(target).merge('off', 'b', source)
    expect(await dirty(target, 'off')).toEqual([{ offset: 4 * BLOCK, bytes: BLOCK }])
    const small = await open(await createImage({ size: MIB }))
    await bitmapsOf(small).add('x')
    await expect(bitmapsOf(small).merge('x', 'b', source)).rejects.toThrow(
      `Bitmaps are of different sizes (destination size is ${MIB}, source size is ${SIZE}) and can't be merged`,
    )
  })

  test('survives reopening, read-only and back', async () => {
    const file = await imageWithBitmaps()
    const node = await open(file)
    await node.write(0, pattern(512))
    await reopenNode(node, { readOnly: true })
    expect(await states(node)).toEqual(CONSISTENT)
    expect(await dirty(node)).toEqual([{ offset: 0, bytes: BLOCK }])
    await reopenNode(node, { readOnly: false })
    await node.write(BLOCK, pattern(512))
    await reopenNode(node, { options: { l2CacheSize: 65536 } })
    await node.write(2 * BLOCK, pattern(512))
    await node.close()
    expect(await later(file)).toEqual({ list: CONSISTENT, ranges: [{ offset: 0, bytes: 3 * BLOCK }] })
  })

  test('follows the disk to another size', async () => {
    const file = await imageWithBitmaps()
    const node = await open(file)
    await node.write(SIZE - 512, pattern(512))
    await node.truncate(2 * SIZE)
    await node.write(2 * SIZE - 512, pattern(512))
    await node.truncate(2 * SIZE - BLOCK)
    await node.close()
    expect((await later(file)).ranges).toEqual([{ offset: SIZE - BLOCK, bytes: BLOCK }])
  })

  test('that is inconsistent keeps the disk at its size', async () => {
    const file = await imageWithBitmaps()
    const node = await open(file)
    await node.write(0, pattern(512))
    await node.crash()
    const again = await open(file)
    await expect(again.truncate(2 * SIZE)).rejects.toMatchObject({
      code: 'ENOTSUP',
      message: "Bitmap 'b' is inconsistent and cannot be used",
    })
    await again.close()
  })

  test('of a base records a commit, and that of the overlay does not', async () => {
    const base = await imageWithBitmaps()
    const top = await imageWithBitmaps()
    const below = await open(base, { readOnly: true })
    const node = await open(top, { backing: below })
    await node.write(BLOCK, pattern(512))
    await bitmapsOf(node).clear('b')
    await commitNode(node)
    expect(await dirty(node)).toEqual([])
    await node.close()
    await below.close()
    expect(await later(base)).toEqual({ list: CONSISTENT, ranges: [{ offset: BLOCK, bytes: BLOCK }] })
  })

  test('has everything dirty once the image was emptied', async () => {
    const file = await imageWithBitmaps()
    const node = await open(file)
    await node.write(BLOCK, pattern(512))
    await node.makeEmpty()
    await node.close()
    expect((await later(file)).ranges).toEqual([{ offset: 0, bytes: SIZE }])
  })

  test('is as it was after a snapshot that cannot be applied', async () => {
    const file = await imageWithBitmaps()
    const node = await open(file)
    await node.write(BLOCK, pattern(512))
    await snapshotsOf(node).create('s')
    for (const name of ['s', 'none'])
      await expect(snapshotsOf(node).apply(name)).rejects.toThrow('Device has active dirty bitmaps')
    await node.close()
    expect((await later(file)).ranges).toEqual([{ offset: BLOCK, bytes: BLOCK }])
  })

  test('keeps version 3', async () => {
    const node = await open(await imageWithBitmaps())
    await expect(node.amend({ compat: '0.10' })).rejects.toThrow('Cannot downgrade an image with bitmaps')
  })
})

test('the last bitmap that is removed leaves nothing behind', async () => {
  const file = await imageWithBitmaps()
  const node = await open(file)
  const bitmaps = bitmapsOf(node)
  await bitmaps.remove('b')
  await bitmaps.remove('off')
  await node.close()
  expect(await later(file)).toEqual({ list: [], ranges: undefined })
})

describe('an image', () => {
  test('drops bitmaps that another program left stale, and says so', async () => {
    const file = await imageWithBitmaps()
    await poke(file, 95, [0])
    const lines: string[] = []
    const environmentOf = { ...environment, onWarn: (line: string) => void lines.push(line) }
    for (const readOnly of [true, false]) {
      const node = await openNode(environmentOf, { driver: 'qcow2', file, readOnly })
      expect(await bitmapsOf(node).list()).toEqual([])
      await node.close()
    }
    expect(lines).toHaveLength(4)
    expect(lines[0]).toBe(
      'warning: a program lacking bitmap support modified this file, so all bitmaps are now considered inconsistent',
    )
    await (await openNode(environmentOf, { driver: 'qcow2', file })).close()
    expect(lines).toHaveLength(4)
    expect((await findings(file)).leaks).toBeGreaterThan(0)
  })

  test('with a broken directory is not written; one with a broken table has an inconsistent bitmap', async () => {
    const file = await imageWithBitmaps()
    const header = await bytesAt(file, 0, 512)
    const view = new DataView(header.buffer)
    const directory = Number(view.getBigUint64(112 + 8 + 16))
    const table = Number(new DataView((await bytesAt(file, directory, 8)).buffer).getBigUint64(0))
    await poke(file, table + 7, [2])
    const node = await open(file)
    expect((await states(node))[0]).toEqual({ name: 'b', enabled: true, inconsistent: true })
    await node.write(0, pattern(512))
    await bitmapsOf(node).remove('b')
    await node.close()
    expect((await later(file)).list).toEqual([CONSISTENT[1]])
    const now = Number(new DataView((await bytesAt(file, 136, 8)).buffer).getBigUint64(0))
    await poke(file, now + 17, [60])
    await expect(open(file)).rejects.toThrow("Bitmap 'off' doesn't satisfy the constraints")
    await (await open(file, { readOnly: true })).close()
  })

  test('says which bitmaps are lost if they cannot be saved', async () => {
    const file = await imageWithBitmaps()
    let isFull = false
    const filling = defineDriver({
      name: 'filling',
      kind: 'filter',
      open: async (context) =>
        aroundRequests(forwardOps(await context.requireChild('file')), async ({ kind }, run) => {
          if (isFull && kind === 'write') throw new BlockError('ENOSPC', 'full')
          return run()
        }),
    })
    const registry = new DriverRegistry([filling, qcow2])
    const node = await openNode(
      { registry, host: denyHost },
      { driver: 'qcow2', nodeName: 'disk0', file: { driver: 'filling', file } },
    )
    await node.write(0, pattern(512))
    await node.flush()
    isFull = true
    await expect(node.close()).rejects.toThrow(
      /^Lost persistent bitmaps during inactivation of node 'disk0': Failed to (write|allocate)/,
    )
    const [b, off] = CONSISTENT
    expect((await later(file)).list).toEqual([{ ...b, inconsistent: true }, off])
  })

  test('has everything dirty if a repair changed what the guest sees', async () => {
    const file = await imageWithBitmaps({ cluster_size: 65536, preallocation: 'metadata' })
    const l1 = Number(new DataView((await bytesAt(file, 40, 8)).buffer).getBigUint64(0))
    const l2 = Number(
      new DataView((await bytesAt(file, l1, 8)).buffer).getBigUint64(0) & ((1n << 56n) - 512n),
    )
    // A zero cluster with an offset that is not a cluster's: its offset is cleared.
    await poke(file, l2 + 6, [2, 1])
    const node = await open(file, { checkMode: true })
    expect((await node.check({ repair: 'all' })).corruptionsFixed).toBe(1)
    await node.close()
    expect((await later(file)).ranges).toEqual([{ offset: 0, bytes: SIZE }])
  })
})
