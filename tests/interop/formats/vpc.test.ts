/** VHD images: both programs make the same file, leave the same file, and go on with what the other one wrote. */
import { formats } from '@vmblock/formats'
import { afterAll, beforeEach, describe, expect, test } from 'vitest'
import { type Bench, haveQemu, openBench } from '../../support/real-qemu.ts'
import { contentOf, createOurs, openOurs } from '../src/ours.ts'

const MIB = 2 ** 20
const SECTOR = 512

/** An image without what is random or a time: in each footer, the time, the identity and the checksum. */
function timeless(file: Uint8Array): string {
  const bytes = file.slice()
  for (const at of [0, bytes.length - SECTOR]) {
    if (Buffer.from(bytes.subarray(at, at + 8)).toString('latin1') !== 'conectix') continue
    bytes.fill(0, at + 24, at + 28)
    bytes.fill(0, at + 64, at + 84)
  }
  return Buffer.from(bytes).toString('base64')
}

const isListed = formats.some(({ name }) => name === 'vpc')

describe.skipIf(!haveQemu || !isListed)('VHD images', () => {
  let bench: Bench
  const benches: Bench[] = []
  beforeEach(() => {
    bench = openBench()
    benches.push(bench)
  })
  afterAll(() => {
    for (const used of benches) used.remove()
  })

  const words = (options: Readonly<Record<string, string>>): string[] =>
    Object.entries(options).flatMap(([key, value]) => ['-o', `${key}=${value}`])
  const sizeIn = (name: string): number =>
    JSON.parse(bench.run('qemu-img', 'info', '-f', 'vpc', '--output=json', name))['virtual-size'] as number

  test.each([
    ['dynamic', 5 * MIB, {}],
    ['of a size that is no geometry', 3 * MIB + 1000, {}],
    ['exact', 3 * MIB + 1000, { force_size: 'on' }],
    ['empty', 0, {}],
    ['with longer tracks', 511 * MIB, {}],
    ['of 127 GiB', 127 * 1024 * MIB, {}],
    ['of 2040 GiB', 2040 * 1024 * MIB, {}],
    ['fixed', MIB, { subformat: 'fixed' }],
    ['fixed and exact', MIB + 512, { subformat: 'fixed', force_size: 'on' }],
  ])('both programs make the same file: %s', async (_, size, options) => {
    bench.run('qemu-img', 'create', '-q', '-f', 'vpc', ...words(options), 'theirs', String(size))
    await createOurs(bench.path('ours'), 'vpc', size, options)
    const theirs = bench.read('theirs')
    const ours = bench.read('ours')
    expect(ours.length).toBe(theirs.length)
    expect(timeless(ours) === timeless(theirs)).toBe(true)
    expect(Buffer.from(ours).equals(Buffer.from(theirs))).toBe(false)
    const node = await openOurs(bench.path('theirs'), 'vpc', { readOnly: true })
    expect(node.size).toBe(sizeIn('theirs'))
    await node.close()
    expect(sizeIn('ours')).toBe(sizeIn('theirs'))
  })

  test('both programs refuse the same sizes', async () => {
    const size = 2041 * 1024 * MIB
    expect(bench.attempt('qemu-img', 'create', '-f', 'vpc', 'theirs', String(size)).stderr).toContain(
      'too large',
    )
    await expect(createOurs(bench.path('ours'), 'vpc', size, {})).rejects.toMatchObject({ code: 'EFBIG' })
  })

  test('the same requests leave the same file', async () => {
    bench.run('qemu-img', 'create', '-q', '-f', 'vpc', 'theirs', '9M')
    await createOurs(bench.path('ours'), 'vpc', 9 * MIB, {})
    const node = await openOurs(bench.path('ours'), 'vpc')
    for (const [offset, bytes] of [
      [5 * MIB, 512],
      [2 * MIB - 512, 1024],
      [8 * MIB, 65536],
    ] as const) {
      bench.run('qemu-io', '-f', 'vpc', '-c', `write -P 7 ${offset} ${bytes}`, 'theirs')
      await node.write(offset, new Uint8Array(bytes).fill(7))
    }
    await node.close()
    const [ours, theirs] = [bench.read('ours'), bench.read('theirs')]
    expect(ours.length).toBe(theirs.length)
    expect(timeless(ours) === timeless(theirs)).toBe(true)
  })

  test.each([
    ['within the last sector of the table', 20 * MIB, 100 * MIB],
    ['with a table that moves', 20 * MIB, 3000 * MIB],
  ])('QEMU goes on with what grew here: %s', async (_, before, after) => {
    bench.run('qemu-img', 'create', '-q', '-f', 'vpc', '-o', 'force_size=on', 'disk', String(before))
    bench.run('qemu-io', '-f', 'vpc', '-c', 'write -P 1 3M 1M', 'disk')
    const node = await openOurs(bench.path('disk'), 'vpc')
    await node.truncate(after)
    await node.write(after - MIB, new Uint8Array(MIB).fill(2))
    await node.close()
    expect(sizeIn('disk')).toBe(after)
    const reads = [`read -P 1 3M 1M`, `read -P 2 ${after - MIB} 1M`, `read -P 0 ${before} 1M`]
    const io = (commands: readonly string[]): string =>
      bench.run('qemu-io', '-f', 'vpc', ...commands.flatMap((command) => ['-c', command]), 'disk')
    expect(io(reads)).not.toContain('failed')
    io(['write -P 3 15M 1M', `write -P 4 ${after - 8 * MIB} 1M`])
    const again = await openOurs(bench.path('disk'), 'vpc', { readOnly: true })
    const byte = new Uint8Array(1)
    const seen: number[] = []
    for (const offset of [3 * MIB, 15 * MIB, after - 8 * MIB, after - 1, before]) {
      await again.read(offset, byte)
      seen.push(byte[0]!)
    }
    expect(seen).toEqual([1, 3, 4, 2, 0])
    await again.close()
  })

  test('an image whose size was its geometry says its size after it has grown to another', async () => {
    bench.run('qemu-img', 'create', '-q', '-f', 'vpc', '-o', 'subformat=fixed', 'disk', '1M')
    const before = sizeIn('disk')
    const node = await openOurs(bench.path('disk'), 'vpc')
    await node.truncate(before + 512)
    await node.close()
    expect(sizeIn('disk')).toBe(before + 512)
    expect(bench.read('disk').length).toBe(before + 1024)
  })

  test('a fixed image is recognized by its end, as QEMU does not', async () => {
    bench.run('qemu-img', 'create', '-q', '-f', 'vpc', '-o', 'subformat=fixed', 'disk', '1M')
    expect(bench.run('qemu-img', 'info', 'disk')).toContain('file format: raw')
    const node = await openOurs(bench.path('disk'), undefined as never, { readOnly: true })
    expect([node.driver.name, node.size]).toEqual(['vpc', sizeIn('disk')])
    await node.close()
  })

  test('without its footer, an image is good for both; without the copy, only here', async () => {
    bench.run('qemu-img', 'create', '-q', '-f', 'vpc', 'disk', '9M')
    bench.run('qemu-io', '-f', 'vpc', '-c', 'write -P 5 2M 3M', 'disk')
    const whole = bench.read('disk')
    const expected = await contentOf(bench.path('disk'), 'vpc')
    bench.write('cut', whole.subarray(0, -SECTOR))
    bench.write('headless', whole.slice().fill(1, 100, 101))
    expect(bench.attempt('qemu-io', '-r', '-f', 'vpc', '-c', 'read -P 5 2M 3M', 'cut').status).toBe(0)
    expect(bench.attempt('qemu-img', 'info', '-f', 'vpc', 'headless').stderr).toContain(
      'Incorrect header checksum',
    )
    for (const name of ['cut', 'headless'])
      expect(Buffer.from(await contentOf(bench.path(name), 'vpc')).equals(Buffer.from(expected))).toBe(true)
    // The first write makes both whole again.
    for (const name of ['cut', 'headless']) {
      const node = await openOurs(bench.path(name), 'vpc')
      await node.write(0, new Uint8Array(512).fill(6))
      await node.close()
      expect(bench.attempt('qemu-io', '-r', '-f', 'vpc', '-c', 'read -P 6 0 512', name).status).toBe(0)
      const file = bench.read(name)
      expect(file.subarray(0, SECTOR)).toEqual(file.subarray(-SECTOR))
    }
  })
})
