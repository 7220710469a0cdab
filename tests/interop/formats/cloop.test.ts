/** Cloop images are to QEMU what they are to us: the same content, or the same refusal. */
import { deflateSync } from 'node:zlib'
import { createRandom } from '@vmblock/block-core/testing'
import { cloop } from '@vmblock/cloop'
import { type CloopWishes, cloopImage } from '@vmblock/cloop/testing'
import { afterAll, describe, expect, test } from 'vitest'
import { haveQemu, openBench } from '../../support/real-qemu.ts'
import { qemuRefusal, readByOurs, readByQemu } from '../src/readers.ts'

const bench = openBench()
afterAll(() => bench.remove())

const compress = (block: Uint8Array): Uint8Array => new Uint8Array(deflateSync(block, { level: 9 }))
const CONTENT = createRandom(1)
  .bytes(4 * 65536)
  .fill(7, 70_000, 150_000)

describe.skipIf(!haveQemu)('cloop images', () => {
  test.each<[string, CloopWishes]>([
    ['stored blocks', { blockSize: 65536 }],
    ['compressed blocks', { blockSize: 65536, compress }],
    ['small blocks', { blockSize: 512, compress }],
    ['one block', { blockSize: 4 * 65536, compress }],
    [
      'something behind each block',
      {
        blockSize: 32768,
        compress: (block) => new Uint8Array(Buffer.concat([compress(block), Buffer.alloc(9)])),
      },
    ],
  ])('with %s have one content', async (_, wishes) => {
    bench.write('image', cloopImage(CONTENT, wishes))
    expect(Buffer.compare(await readByOurs(cloop, bench.path('image')), CONTENT)).toBe(0)
    expect(Buffer.compare(readByQemu(bench, 'cloop', 'image'), CONTENT)).toBe(0)
  })

  test.each<[string, number, bigint]>([
    ['an odd block', 128, 1000n << 32n],
    ['an empty block', 128, 0n],
    ['a huge block', 128, BigInt(2 ** 26 + 512) << 32n],
    ['too many blocks', 128, (4096n << 32n) | BigInt(2 ** 30)],
    // Of 2^29 - 1 blocks, QEMU counts the bytes of the table in 32 bits, and has 0.
    ['too large a table', 128, (4096n << 32n) | BigInt(2 ** 27)],
    ['offsets that go back', 144, 5n],
    ['a huge compressed block', 168, 2n ** 30n],
  ])('with %s are refused in the same words', async (_, at, value) => {
    const bytes = cloopImage(CONTENT.subarray(0, 16384))
    new DataView(bytes.buffer).setBigUint64(at, value)
    bench.write('image', bytes)
    const message = qemuRefusal(bench, 'cloop', 'image')
    await expect(readByOurs(cloop, bench.path('image'))).rejects.toMatchObject({ message })
  })

  test('with a block that is damaged cannot be read by either', async () => {
    const bytes = cloopImage(CONTENT, { blockSize: 65536, compress })
    bytes[bytes.length - 1]! ^= 1
    bench.write('image', bytes)
    await expect(readByOurs(cloop, bench.path('image'))).rejects.toMatchObject({ code: 'EIO' })
    expect(() => readByQemu(bench, 'cloop', 'image')).toThrow(/Input\/output error/)
  })

  test('are not opened for writing, in the same words', async () => {
    bench.write('image', cloopImage(CONTENT))
    const message = qemuRefusal(bench, 'cloop', 'image', 'for writing')
    await expect(readByOurs(cloop, bench.path('image'), 'for writing')).rejects.toMatchObject({ message })
  })
})
