/** Images of Bochs are to QEMU what they are to us: the same content, or the same refusal. */

import { createRandom } from '@vmblock/block-core/testing'
import { bochs } from '@vmblock/bochs'
import { type BochsWishes, bochsImage } from '@vmblock/bochs/testing'
import { afterAll, describe, expect, test } from 'vitest'
import { haveQemu, openBench } from '../../support/real-qemu.ts'
import { qemuRefusal, readByOurs, readByQemu } from '../src/readers.ts'

const bench = openBench()
afterAll(() => bench.remove())

/** Runs of data and of zeroes, in sectors. */
function sparse(seed: number, sectors: number): Uint8Array {
  const random = createRandom(seed)
  const content = new Uint8Array(sectors * 512)
  for (let at = 0; at < sectors; at += random.int(1, 20))
    if (random.chance(0.5)) content.set(random.bytes(Math.min(7, sectors - at) * 512), at * 512)
  return content
}

describe.skipIf(!haveQemu)('images of Bochs', () => {
  test.each<[string, number, BochsWishes]>([
    ['small extents', 1, {}],
    ['version 1', 2, { version: 1 }],
    ['extents of one sector', 3, { extentSize: 512 }],
    ['large extents', 4, { extentSize: 2 ** 20 }],
    ['extents backwards', 5, { backwards: true }],
  ])('with %s have one content', async (_, seed, wishes) => {
    const content = sparse(seed, 700)
    bench.write('image', bochsImage(content, wishes))
    expect(Buffer.compare(await readByOurs(bochs, bench.path('image')), content)).toBe(0)
    expect(Buffer.compare(readByQemu(bench, 'bochs', 'image'), content)).toBe(0)
  })

  test.each<[string, number, number]>([
    ['another magic', 0, 0x21212121],
    ['another type', 32, 0x21212121],
    ['another version', 64, 0x30000],
    ['too large a catalog', 72, 0x100001],
    ['an extent that is too small', 80, 256],
    ['an odd extent', 80, 5000],
    ['a huge extent', 80, 2 ** 31],
    ['too small a catalog', 72, 1],
  ])('with %s are refused in the same words', async (_, at, value) => {
    const bytes = bochsImage(sparse(1, 100))
    new DataView(bytes.buffer).setUint32(at, value, true)
    bench.write('image', bytes)
    const message = qemuRefusal(bench, 'bochs', 'image')
    await expect(readByOurs(bochs, bench.path('image'))).rejects.toMatchObject({ message })
  })

  test('are not opened for writing, in the same words', async () => {
    bench.write('image', bochsImage(sparse(1, 100)))
    const message = qemuRefusal(bench, 'bochs', 'image', 'for writing')
    await expect(readByOurs(bochs, bench.path('image'), 'for writing')).rejects.toMatchObject({ message })
  })
})
