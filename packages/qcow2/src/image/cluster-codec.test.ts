import { randomBytes } from 'node:crypto'
import { deflateRawSync } from 'node:zlib'
import { BlockError } from '@vmblock/block-core'
import { afterAll, describe, expect, it } from 'vitest'
import { haveQemu, openBench } from '../../../../tests/support/real-qemu.ts'
import { geometryOf } from '../format/geometry.ts'
import { ClusterKind, compressedExtent, l1Offset, l2Kind } from '../format/l2-entry.ts'
import { headerIn } from '../testing/plain-header.ts'
import { codecFor } from './cluster-codec.ts'

const zlib = codecFor('zlib')
const zstd = codecFor('zstd')

/** Content that compresses to about a third: words from a seeded generator. */
function text(length: number, seed: number): Uint8Array {
  const bytes = new Uint8Array(length)
  let state = seed
  for (let i = 0; i < length; i++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    bytes[i] = i % 5 === 0 ? 32 : 97 + ((state >>> 16) % 7)
  }
  return bytes
}

const joined = (...parts: readonly Uint8Array[]): Uint8Array => new Uint8Array(Buffer.concat(parts))

async function expectEio(data: Uint8Array, codec = zlib, clusterSize = 65536): Promise<void> {
  const error = await codec.decompress(data, clusterSize).catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(BlockError)
  expect((error as BlockError).code).toBe('EIO')
}

describe('the zlib codec', () => {
  it('gives the cluster whatever follows the stream in its last sector', async () => {
    for (const clusterSize of [512, 4096, 65536, 2 ** 21]) {
      const cluster = text(clusterSize, clusterSize)
      const data = new Uint8Array(deflateRawSync(cluster))
      for (const tail of [0, 1, 7, 511])
        for (const filler of [new Uint8Array(tail), new Uint8Array(randomBytes(tail))])
          expect(Buffer.compare(await zlib.decompress(joined(data, filler), clusterSize), cluster)).toBe(0)
    }
  })

  it('stops at the end of the cluster when the stream has more', async () => {
    const bomb = new Uint8Array(deflateRawSync(new Uint8Array(64 * 2 ** 20)))
    expect(await zlib.decompress(bomb, 4096)).toEqual(new Uint8Array(4096))
  })

  it('reports a stream that ends early, gives less, or is broken as EIO', async () => {
    const data = new Uint8Array(deflateRawSync(text(65536, 1)))
    await expectEio(data.subarray(0, 1000))
    await expectEio(new Uint8Array(deflateRawSync(text(1000, 1))))
    await expectEio(new Uint8Array(512).fill(0xff))
    await expectEio(new Uint8Array(0))
  })

  it('compresses what can be compressed, and says so when nothing is saved', async () => {
    const cluster = text(65536, 2)
    const data = await zlib.compress!(cluster)
    expect(data!.length).toBeLessThan(40_000)
    expect(Buffer.compare(await zlib.decompress(data!, 65536), cluster)).toBe(0)
    expect(await zlib.compress!(new Uint8Array(randomBytes(65536)))).toBeUndefined()
  })

  it('leaves the buffer of the caller alone', async () => {
    const whole = joined(new Uint8Array(100), new Uint8Array(deflateRawSync(text(4096, 3))))
    await zlib.decompress(whole.subarray(100), 4096)
    expect(whole.length).toBeGreaterThan(100)
  })
})

/** A zstd frame of raw and run-length blocks, written by hand. */
function frame(blocks: readonly (Uint8Array | { run: number; byte: number })[], window = 7 << 3): Uint8Array {
  const parts = blocks.map((block, index) => {
    const last = index === blocks.length - 1 ? 1 : 0
    const raw = block instanceof Uint8Array
    const header = ((raw ? block.length : block.run) << 3) | (raw ? 0 : 2) | last
    const head = Uint8Array.of(header & 255, (header >> 8) & 255, header >> 16)
    return joined(head, raw ? block : Uint8Array.of(block.byte))
  })
  return joined(Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0, window), ...parts)
}

describe('the zstd codec', () => {
  it('decodes frames one after the other, skips skippable ones, and ignores what follows', async () => {
    const cluster = text(4096, 4)
    const skippable = Uint8Array.of(0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 9, 9, 9)
    const data = joined(frame([cluster.subarray(0, 1000)]), skippable, frame([cluster.subarray(1000)]))
    for (const tail of [0, 1, 300])
      for (const filler of [new Uint8Array(tail), new Uint8Array(randomBytes(tail))])
        expect(Buffer.compare(await zstd.decompress(joined(data, filler), 4096), cluster)).toBe(0)
  })

  it('takes no memory for a window that is larger than any cluster', async () => {
    const before = process.memoryUsage().arrayBuffers
    const data = frame([text(4096, 5)], 21 << 3) // 2 GiB
    expect(await zstd.decompress(data, 4096)).toEqual(text(4096, 5))
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(2 ** 26)
  })

  it('reports data that ends early, gives less or more, or is broken as EIO', async () => {
    const whole = frame([text(4096, 6)])
    await expectEio(whole.subarray(0, 1000), zstd, 4096)
    await expectEio(frame([text(1000, 6)]), zstd, 4096)
    await expectEio(frame([{ run: 5000, byte: 1 }]), zstd, 4096)
    await expectEio(new Uint8Array(512), zstd, 4096)
    await expectEio(new Uint8Array(0), zstd, 4096)
    await expectEio(Uint8Array.of(0x50, 0x2a, 0x4d, 0x18, 255, 255, 255, 255), zstd, 4096)
  })
})

describe('zstd data in small pieces', () => {
  const MIB = 2 ** 20
  const pieces = (count: number): Uint8Array =>
    frame(Array.from({ length: count }, (_, index) => text(MIB / 2 ** 10, index)))

  it('is decoded where a cluster may be in so many', async () => {
    expect(await zstd.decompress(pieces(1024), MIB)).toHaveLength(MIB)
  })

  it.each([
    ['blocks of one byte', frame(new Array(20_000).fill({ run: 1, byte: 65 }))],
    ['blocks of nothing', frame(new Array(20_000).fill({ run: 0, byte: 65 }))],
    ['frames of nothing', joined(...new Array(20_000).fill(frame([new Uint8Array(0)])))],
  ])('is refused where it would keep the decoder busy: %s', async (_, data) => {
    await expect(zstd.decompress(data, MIB)).rejects.toMatchObject({
      code: 'EIO',
      cause: { message: 'The zstd data is in more pieces than a cluster can be' },
    })
  })
})

it('takes a codec of the host before its own', () => {
  const own = { decompress: () => Promise.reject(new Error('unused')) }
  expect(codecFor('zstd', { zstd: own })).toBe(own)
  expect(codecFor('zlib', { zstd: own })).toBe(zlib)
})

const bench = openBench()
afterAll(() => bench.remove())

describe.skipIf(!haveQemu)('codecs on images of qemu-img', () => {
  it.each([
    ['zlib', '64k'],
    ['zstd', '64k'],
    ['zstd', '512'],
    ['zlib', '512'],
    ['zlib', '2M'],
    ['zstd', '2M'],
  ] as const)('%s with clusters of %s', async (type, clusterOption) => {
    const guest = joined(text(3_000_000, 7), new Uint8Array(2 ** 20), text(152_576, 8))
    bench.write('guest.raw', guest)
    const options = `compression_type=${type},cluster_size=${clusterOption}`
    bench.run('qemu-img', 'convert', '-c', '-f', 'raw', '-O', 'qcow2', '-o', options, 'guest.raw', 'c.qcow2')
    const image = bench.read('c.qcow2')
    const header = await headerIn(image)
    expect(header.compressionType).toBe(type)
    const { clusterBits, clusterSize, l2Entries } = geometryOf(
      header.clusterBits,
      header.refcountOrder,
      false,
    )
    const view = new DataView(image.buffer)
    let compressed = 0
    for (let cluster = 0; cluster * clusterSize < guest.length; cluster++) {
      const l1 = header.l1TableOffset + Math.floor(cluster / l2Entries) * 8
      const l2 = l1Offset(view.getUint32(l1), view.getUint32(l1 + 4))
      if (l2 === 0) continue
      const at = l2 + (cluster % l2Entries) * 8
      const [hi, lo] = [view.getUint32(at), view.getUint32(at + 4)]
      if (l2Kind(hi, lo) !== ClusterKind.compressed) continue
      compressed++
      if (clusterSize < 65536 && cluster % 50 !== 0) continue
      const { hostOffset, bytes } = compressedExtent(hi, lo, clusterBits)
      const data = image.subarray(hostOffset, hostOffset + bytes)
      const expected = new Uint8Array(clusterSize)
      expected.set(guest.subarray(cluster * clusterSize, (cluster + 1) * clusterSize))
      const got = await codecFor(type).decompress(data, clusterSize)
      expect(Buffer.compare(got, expected), `cluster ${cluster}`).toBe(0)
    }
    expect(compressed).toBeGreaterThan(1)
  })
})
