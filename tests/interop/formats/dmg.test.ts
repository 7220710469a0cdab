/** Dmg images are to QEMU what they are to us, where QEMU can read them: its bugs are not ours. */
import { deflateSync } from 'node:zlib'
import { createRandom } from '@vmblock/block-core/testing'
import { dmg } from '@vmblock/dmg'
import { type DmgChunk, type DmgWishes, dmgImage } from '@vmblock/dmg/testing'
import { afterAll, describe, expect, test } from 'vitest'
import { haveQemu, openBench } from '../../support/real-qemu.ts'
import { qemuRefusal, readByOurs, readByQemu } from '../src/readers.ts'

const bench = openBench()
afterAll(() => bench.remove())

const SECTOR = 512

/** Chunks of the kinds that every QEMU reads, one behind the other, and their content. */
function chunksOf(
  seed: number,
  count: number,
): { readonly chunks: DmgChunk[]; readonly content: Uint8Array } {
  const random = createRandom(seed)
  const parts: Uint8Array[] = []
  const chunks: DmgChunk[] = []
  for (let sector = 0, i = 0; i < count; i++) {
    const sectors = random.int(1, 200)
    const type = random.pick([0, 1, 2, 0x80000005])
    const data = random.bytes(sectors * SECTOR).fill(7, 0, random.int(0, sectors * SECTOR))
    if (type === 0 || type === 2) {
      chunks.push({ type, sector, sectors })
      parts.push(data.fill(0))
    } else {
      chunks.push({ type, sector, sectors, data: type === 1 ? data : new Uint8Array(deflateSync(data)) })
      parts.push(data)
    }
    sector += sectors
  }
  return { chunks, content: new Uint8Array(Buffer.concat(parts)) }
}

const wishesFor = (seed: number, more: Partial<DmgWishes> = {}) => {
  const { chunks, content } = chunksOf(seed, 30)
  return { content, wishes: { tables: [{ chunks }], sectors: content.length / SECTOR, ...more } }
}

describe.skipIf(!haveQemu)('dmg images', () => {
  test.each<[string, Partial<DmgWishes>]>([
    ['a property list', {}],
    ['a resource fork', { resourceFork: true, editTrailer: (trailer) => trailer.setBigUint64(216, 0n) }],
    ['a data fork that begins later', { dataForkOffset: 4096 }],
  ])('with %s have one content', async (_, more) => {
    for (let seed = 1; seed <= 3; seed++) {
      const { content, wishes } = wishesFor(seed, more)
      bench.write('image.dmg', dmgImage(wishes))
      expect(Buffer.compare(await readByOurs(dmg, bench.path('image.dmg')), content)).toBe(0)
      expect(Buffer.compare(readByQemu(bench, 'dmg', 'image.dmg'), content)).toBe(0)
    }
  })

  test('of whole sectors, with up to 511 bytes behind their trailer, have one content', async () => {
    const { content, wishes } = wishesFor(5)
    // In a file of another size, QEMU does not look as far.
    const behind = SECTOR - (dmgImage(wishes).length % SECTOR)
    bench.write('image.dmg', dmgImage({ ...wishes, behind }))
    expect(Buffer.compare(await readByOurs(dmg, bench.path('image.dmg')), content)).toBe(0)
    expect(Buffer.compare(readByQemu(bench, 'dmg', 'image.dmg'), content)).toBe(0)
  })

  test('whose sectors are not all there cannot be read by either', async () => {
    const { wishes } = wishesFor(4)
    bench.write('image.dmg', dmgImage({ ...wishes, sectors: Number(wishes.sectors) + 10 }))
    await expect(readByOurs(dmg, bench.path('image.dmg'))).rejects.toMatchObject({ code: 'EIO' })
    expect(() => readByQemu(bench, 'dmg', 'image.dmg')).toThrow(/Input\/output error/)
  })

  test.each<[string, Uint8Array]>([
    ['are too short', new Uint8Array(0)],
    ['have no trailer', new Uint8Array(4096)],
  ])('that %s are refused in the same words', async (_, bytes) => {
    bench.write('image.dmg', bytes)
    const message = qemuRefusal(bench, 'dmg', 'image.dmg')
    await expect(readByOurs(dmg, bench.path('image.dmg'))).rejects.toMatchObject({ message })
  })

  test('with a chunk that is too large are refused in the same words', async () => {
    const chunks = [{ type: 0x80000005, sector: 0, sectors: 131073 }]
    bench.write('image.dmg', dmgImage({ tables: [{ chunks }], sectors: 131073 }))
    const { stderr } = bench.attempt('qemu-img', 'info', '-f', 'dmg', 'image.dmg')
    const message = 'sector count 131073 for chunk 0 is larger than max (131072)'
    expect(stderr).toContain(message)
    await expect(readByOurs(dmg, bench.path('image.dmg'))).rejects.toMatchObject({ message })
  })

  test('are not opened for writing, in the same words', async () => {
    bench.write('image.dmg', dmgImage(wishesFor(1).wishes))
    const message = qemuRefusal(bench, 'dmg', 'image.dmg', 'for writing')
    await expect(readByOurs(dmg, bench.path('image.dmg'), 'for writing')).rejects.toMatchObject({ message })
  })
})
