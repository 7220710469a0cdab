/** Parallels images: both programs make the same file, and find the same damage; and where QEMU does some itself. */
import { createHash } from 'node:crypto'
import { formats } from '@vmblock/formats'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { type Bench, haveQemu, openBench } from '../../support/real-qemu.ts'
import { countsIn, countsOf, realCheck } from '../src/agreement.ts'
import { checkOurs, contentOf, createOurs, openOurs } from '../src/ours.ts'

const KIB = 1024
const MIB = 2 ** 20
const BAT = 64
const IN_USE_AT = 44
const IN_USE = 0x746f6e59

const digest = (file: Uint8Array): string => createHash('sha1').update(file).digest('hex')

const isListed = formats.some(({ name }) => name === 'parallels')

describe.skipIf(!haveQemu || !isListed)('Parallels images', () => {
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
  const io = (name: string, ...commands: string[]): string =>
    bench.run('qemu-io', '-f', 'parallels', ...commands.flatMap((command) => ['-c', command]), name)
  /** An image of QEMU's with clusters 0 and 3. */
  const patient = (name: string): void => {
    bench.run('qemu-img', 'create', '-q', '-f', 'parallels', '-o', 'cluster_size=64k', name, '1M')
    io(name, 'write -P 1 0 64k', 'write -P 2 192k 64k')
  }

  test.each([
    ['default', 5 * MIB, {}],
    ['of odd size', 3 * MIB + 1000, {}],
    ['empty', 0, {}],
    ['with a long BAT', 300 * MIB, { cluster_size: '1000' }],
  ])('both programs make the same file, and info says the same: %s', async (_, size, options) => {
    const words = Object.entries(options).flatMap(([key, value]) => ['-o', `${key}=${value}`])
    bench.run('qemu-img', 'create', '-q', '-f', 'parallels', ...words, 'theirs', String(size))
    await createOurs(bench.path('ours'), 'parallels', size, options)
    expect(digest(bench.read('ours'))).toBe(digest(bench.read('theirs')))
    const info = JSON.parse(bench.run('qemu-img', 'info', '--output=json', 'ours')) as Record<string, unknown>
    const node = await openOurs(bench.path('ours'), 'parallels', { readOnly: true })
    expect([info['format'], info['virtual-size'], info['cluster-size']]).toEqual([
      'parallels',
      node.size,
      (await node.info()).clusterSize,
    ])
    await node.close()
  })

  test('the same requests leave the same file', async () => {
    bench.run('qemu-img', 'create', '-q', '-f', 'parallels', '-o', 'cluster_size=64k', 'theirs', '2M')
    await createOurs(bench.path('ours'), 'parallels', 2 * MIB, { cluster_size: '64k' })
    const node = await openOurs(bench.path('ours'), 'parallels')
    for (const [offset, bytes] of [
      [5 * 64 * KIB, 512],
      [MIB - 512, 128 * KIB],
      [0, 64 * KIB],
    ] as const) {
      io('theirs', `write -P 7 ${offset} ${bytes}`)
      await node.write(offset, new Uint8Array(bytes).fill(7))
    }
    await node.close()
    expect(digest(bench.read('ours'))).toBe(digest(bench.read('theirs')))
  })

  test.each<[string, () => void]>([
    ['not closed', () => poke('disk', IN_USE_AT, IN_USE)],
    [
      'with space behind the data',
      () => bench.write('disk', new Uint8Array([...bench.read('disk'), ...new Uint8Array(99_999)])),
    ],
  ])('both checks find and count the same: %s', async (_, damage) => {
    patient('disk')
    damage()
    const real = realCheck(bench, 'disk', 'parallels')
    const { report, lines } = await checkOurs(bench.path('disk'), undefined, 'parallels')
    expect(lines).toEqual(real.stderr.trim().split('\n'))
    expect(countsOf(report)).toEqual(countsIn(real))
    const theirs = realCheck(bench, 'disk', 'parallels', '-r', 'all')
    expect(theirs.status).toBe(0)
    damage()
    const repaired = await checkOurs(bench.path('disk'), 'all', 'parallels')
    expect(repaired.lines).toEqual(theirs.stderr.trim().split('\n'))
    expect(realCheck(bench, 'disk', 'parallels').status).toBe(0)
  })

  test('a repair of an entry outside the file inflates it in QEMU, and not here', async () => {
    for (const name of ['theirs', 'ours']) {
      patient(name)
      poke(name, BAT + 4, 100)
    }
    const { length } = bench.read('ours')
    realCheck(bench, 'theirs', 'parallels', '-r', 'all')
    expect(bench.read('theirs').length).toBe(101 * 64 * KIB)
    const { lines } = await checkOurs(bench.path('ours'), 'all', 'parallels')
    expect(lines).toEqual(['Repairing cluster 1 is outside image'])
    expect(bench.read('ours').length).toBe(length)
    expect(realCheck(bench, 'ours', 'parallels').status).toBe(0)
  })

  test('QEMU takes a BAT of several clusters for a leak', async () => {
    await createOurs(bench.path('disk'), 'parallels', 64 * MIB, { cluster_size: '4k' })
    expect(realCheck(bench, 'disk', 'parallels').stderr).toContain('space leaked at the end of the image')
    const { report, lines } = await checkOurs(bench.path('disk'), undefined, 'parallels')
    expect([report.leaks, lines]).toEqual([0, []])
  })

  test('QEMU goes on with what a crash left here, after a repair', async () => {
    patient('disk')
    const node = await openOurs(bench.path('disk'), 'parallels')
    await node.write(512 * KIB, new Uint8Array(64 * KIB).fill(3))
    await node.flush()
    await node.crash()
    expect(bench.attempt('qemu-io', '-f', 'parallels', '-c', 'write 0 512', 'disk').stderr).toContain(
      'parallels: Image was not closed correctly; cannot be opened read/write',
    )
    expect(realCheck(bench, 'disk', 'parallels', '-r', 'all').status).toBe(0)
    io('disk', 'write -P 4 128k 64k')
    const content = await contentOf(bench.path('disk'), 'parallels')
    expect([0, 64, 128, 192, 512].map((at) => content[at * KIB])).toEqual([1, 0, 4, 2, 3])
  })

  test('clusters that QEMU fills from a backing file given at run time are read here', async () => {
    patient('disk')
    bench.write('base', new Uint8Array(MIB).fill(9))
    const json = JSON.stringify({
      driver: 'parallels',
      file: { driver: 'file', filename: 'disk' },
      backing: { driver: 'raw', file: { driver: 'file', filename: 'base' } },
    })
    bench.run('qemu-io', '-c', 'write -P 5 300k 1k', `json:${json}`)
    bench.run('qemu-img', 'convert', '-O', 'raw', `json:${json}`, 'theirs')
    const content = bench.read('theirs')
    const alone = await contentOf(bench.path('disk'), 'parallels')
    expect([0, 64, 192, 256, 300].map((at) => [content[at * KIB], alone[at * KIB]])).toEqual([
      [1, 1],
      [9, 0],
      [2, 2],
      [9, 9],
      [5, 5],
    ])
  })
})
