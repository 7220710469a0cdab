/** VDI images: both programs make the same file, find the same damage, and go on with what the other one resized. */
import { createHash } from 'node:crypto'
import { formats } from '@vmblock/formats'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { type Bench, haveQemu, openBench } from '../../support/real-qemu.ts'
import { checkOurs, contentOf, createOurs, openOurs } from '../src/ours.ts'

const MIB = 2 ** 20
const COUNT = 0x184
const MAP = 512

/** A digest of all but the ids, which are random: those of the image, and of its last modification. */
const digest = (file: Uint8Array): string =>
  createHash('sha1')
    .update(file.slice().fill(0, 0x188, 0x1a8))
    .digest('hex')

const isListed = formats.some(({ name }) => name === 'vdi')

describe.skipIf(!haveQemu || !isListed)('VDI images', () => {
  let bench: Bench
  const benches: Bench[] = []
  beforeEach(() => {
    bench = openBench()
    benches.push(bench)
  })
  afterAll(() => {
    for (const used of benches) used.remove()
  })

  const poke = (name: string, offset: number, value: number): void => {
    const file = bench.read(name)
    new DataView(file.buffer).setUint32(offset, value, true)
    bench.write(name, file)
  }
  const realCheck = (name: string): readonly string[] =>
    bench
      .attempt('qemu-img', 'check', '-f', 'vdi', name)
      .stderr.split('\n')
      .filter((line) => line.startsWith('ERROR'))
  const ourCheck = async (name: string): Promise<readonly string[]> =>
    (await checkOurs(bench.path(name), undefined, 'vdi')).lines

  test.each([
    ['dynamic', 5 * MIB, {}],
    ['of odd size', 3 * MIB + 1000, {}],
    ['empty', 0, {}],
    ['with a long map', 2000 * MIB, {}],
    ['fixed', 3 * MIB + 512, { static: 'on' }],
  ])('both programs make the same file, and info says the same: %s', async (_, size, options) => {
    const words = Object.entries(options).flatMap(([key, value]) => ['-o', `${key}=${value}`])
    bench.run('qemu-img', 'create', '-q', '-f', 'vdi', ...words, 'theirs', String(size))
    await createOurs(bench.path('ours'), 'vdi', size, options)
    expect(digest(bench.read('ours'))).toEqual(digest(bench.read('theirs')))
    const info = JSON.parse(bench.run('qemu-img', 'info', '--output=json', 'ours')) as Record<string, unknown>
    const node = await openOurs(bench.path('ours'), 'vdi', { readOnly: true })
    expect([info['format'], info['virtual-size'], info['cluster-size']]).toEqual([
      'vdi',
      node.size,
      (await node.info()).clusterSize,
    ])
    await node.close()
  })

  test('the same requests leave the same file', async () => {
    bench.run('qemu-img', 'create', '-q', '-f', 'vdi', 'theirs', '8M')
    await createOurs(bench.path('ours'), 'vdi', 8 * MIB, {})
    const node = await openOurs(bench.path('ours'), 'vdi')
    for (const [offset, bytes] of [
      [5 * MIB, 512],
      [MIB - 512, MIB + 1024],
      [0, 65536],
    ] as const) {
      bench.run('qemu-io', '-f', 'vdi', '-c', `write -P 7 ${offset} ${bytes}`, 'theirs')
      await node.write(offset, new Uint8Array(bytes).fill(7))
    }
    await node.close()
    expect(digest(bench.read('ours'))).toEqual(digest(bench.read('theirs')))
  })

  test.each<[string, [number, number][]]>([
    ['a place outside the disk', [[MAP + 4, 77]]],
    ['a count that is too large', [[COUNT, 5]]],
    ['a count that is too small', [[COUNT, 1]]],
  ])('both checks find the same: %s', async (_, fields) => {
    bench.run('qemu-img', 'create', '-q', '-f', 'vdi', 'disk', '8M')
    bench.run('qemu-io', '-f', 'vdi', '-c', 'write -P 1 0 3M', 'disk')
    for (const [offset, value] of fields) poke('disk', offset, value)
    const found = realCheck('disk')
    expect(found.length).toBeGreaterThan(0)
    expect(await ourCheck('disk')).toEqual(found)
  })

  test('a shared place is found by both, and only ours says by whom', async () => {
    bench.run('qemu-img', 'create', '-q', '-f', 'vdi', 'disk', '8M')
    bench.run('qemu-io', '-f', 'vdi', '-c', 'write -P 1 0 3M', 'disk')
    poke('disk', MAP + 8, 0)
    expect(realCheck('disk')).toEqual(['ERROR: block index 0 also used by 0'])
    expect(await ourCheck('disk')).toEqual(['ERROR: block index 0 also used by 2'])
  })

  test('a crash between entry and count: QEMU overwrites a block, ours does not', async () => {
    for (const name of ['theirs', 'ours']) {
      bench.run('qemu-img', 'create', '-q', '-f', 'vdi', name, '8M')
      bench.run('qemu-io', '-f', 'vdi', '-c', 'write -P 1 0 1M', name)
      poke(name, COUNT, 0)
    }
    bench.run('qemu-io', '-f', 'vdi', '-c', 'write -P 2 1M 1M', 'theirs')
    expect(realCheck('theirs')).toEqual([
      'ERROR: block index 0 also used by 0',
      'ERROR: allocated blocks mismatch, is 2, should be 1',
    ])
    const node = await openOurs(bench.path('ours'), 'vdi')
    await node.write(MIB, new Uint8Array(MIB).fill(2))
    await node.close()
    expect(realCheck('ours')).toEqual([])
    const content = await contentOf(bench.path('ours'), 'vdi')
    expect([content[0], content[MIB]]).toEqual([1, 2])
  })

  test.each(['off', 'on'])('QEMU goes on with what was resized here, static=%s', async (isStatic) => {
    bench.run('qemu-img', 'create', '-q', '-f', 'vdi', '-o', `static=${isStatic}`, 'disk', '100M')
    bench.run('qemu-io', '-f', 'vdi', '-c', 'write -P 1 99M 1M', '-c', 'write -P 2 3M 10k', 'disk')
    const node = await openOurs(bench.path('disk'), 'vdi')
    // Beyond 128 blocks the map moves.
    await node.truncate(140 * MIB)
    await node.close()
    expect(realCheck('disk')).toEqual([])
    bench.run('qemu-io', '-f', 'vdi', '-c', 'write -P 3 139M 1M', '-c', 'write -P 4 50M 512', 'disk')
    expect(realCheck('disk')).toEqual([])
    expect(await ourCheck('disk')).toEqual([])
    const grown = await contentOf(bench.path('disk'), 'vdi')
    expect([0, 3, 50, 99, 138, 139].map((at) => grown[at * MIB])).toEqual([0, 2, 4, 1, 0, 3])
    const smaller = await openOurs(bench.path('disk'), 'vdi')
    await smaller.truncate(60 * MIB)
    await smaller.close()
    expect(realCheck('disk')).toEqual([])
    bench.run('qemu-io', '-f', 'vdi', '-c', 'write -P 5 59M 1M', 'disk')
    expect(realCheck('disk')).toEqual([])
    const shrunk = await contentOf(bench.path('disk'), 'vdi')
    expect([0, 3, 50, 59].map((at) => shrunk[at * MIB])).toEqual([0, 2, 4, 5])
  })
})
