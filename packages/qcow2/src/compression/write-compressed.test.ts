/** Compressed writes: where their data goes, what they may replace, and what becomes of it afterwards. */
import type { BlockNode, RawOptions } from '@vmblock/block-core'
import { createRandom } from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import { bytesAt, createImage, filled, findings, open, pattern, SOUND, sameBytes } from '../testing/images.ts'
import { KINDS } from '../testing/kinds.ts'

const KIB = 1024
const CLUSTER = 64 * KIB

/** A cluster of which a tenth is left when it is compressed; different for each seed. */
function compressible(bytes: number, seed: number): Uint8Array {
  const cluster = new Uint8Array(bytes).fill(seed)
  cluster.set(pattern(Math.max(1, Math.floor(bytes / 10)), seed))
  return cluster
}

async function make(options: RawOptions = {}, runtime: RawOptions = {}) {
  const file = await createImage({ size: 32 * CLUSTER, cluster_size: CLUSTER, ...options })
  return { file, disk: await open(file, runtime) }
}

/** The bytes that the file holds in clusters, without tables. */
const endOf = async (file: BlockNode): Promise<number> => (await findings(file)).imageEndOffset!

describe('compressed clusters', () => {
  it('share host clusters, which are joined where one follows the other', async () => {
    const { file, disk } = await make()
    // A tenth each: 30 of them fill three clusters and a bit, where each alone would take 30.
    for (let i = 0; i < 30; i++) await disk.writeCompressed(i * CLUSTER, compressible(CLUSTER, i + 1))
    for (let i = 0; i < 30; i++)
      expect(sameBytes(await bytesAt(disk, i * CLUSTER, CLUSTER), compressible(CLUSTER, i + 1))).toBe(true)
    await disk.close()
    expect(await findings(file)).toMatchObject({ ...SOUND, compressedClusters: 30 })
    expect(await endOf(file)).toBe((5 + 4) * CLUSTER)
  })

  it('are written many at once, in the order of the disk', async () => {
    const whole = new Uint8Array(20 * CLUSTER)
    for (let i = 0; i < 20; i++) whole.set(compressible(CLUSTER, i + 1), i * CLUSTER)
    const [once, each] = [await make(), await make()]
    await once.disk.writeCompressed(0, whole)
    for (let i = 0; i < 20; i++)
      await each.disk.writeCompressed(i * CLUSTER, whole.subarray(i * CLUSTER, (i + 1) * CLUSTER))
    for (const { disk } of [once, each]) await disk.close()
    expect(
      sameBytes(await bytesAt(once.file, 0, once.file.size), await bytesAt(each.file, 0, each.file.size)),
    ).toBe(true)
  })

  it('begin a new host cluster in each session', async () => {
    const { file, disk } = await make()
    await disk.writeCompressed(0, compressible(CLUSTER, 1))
    await disk.close()
    const again = await open(file)
    await again.writeCompressed(CLUSTER, compressible(CLUSTER, 2))
    await again.close()
    expect(await findings(file)).toMatchObject({ ...SOUND, imageEndOffset: (5 + 2) * CLUSTER })
  })

  it('are written as they are where that saves nothing', async () => {
    const { file, disk } = await make()
    const data = pattern(3 * CLUSTER, 9)
    data.set(compressible(CLUSTER, 1), CLUSTER)
    await disk.writeCompressed(0, data)
    expect(sameBytes(await bytesAt(disk, 0, data.length), data)).toBe(true)
    // So they may replace others, as normal writes may.
    await disk.writeCompressed(0, pattern(CLUSTER, 10))
    await disk.close()
    expect(await findings(file)).toMatchObject({ ...SOUND, compressedClusters: 1 })
  })

  it('may end with the disk', async () => {
    const { file, disk } = await make({ size: CLUSTER + 36 * KIB })
    await disk.writeCompressed(CLUSTER, filled(7, 36 * KIB))
    expect(await bytesAt(disk, CLUSTER, 36 * KIB)).toEqual(filled(7, 36 * KIB))
    await expect(disk.writeCompressed(0, filled(1, 36 * KIB))).rejects.toMatchObject({ code: 'EINVAL' })
    await disk.truncate(2 * CLUSTER)
    expect(await bytesAt(disk, CLUSTER + 36 * KIB, 28 * KIB)).toEqual(filled(0, 28 * KIB))
    await disk.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  it('replace nothing but unallocated clusters and zeroes without a place', async () => {
    const { file, disk } = await make()
    const refused = { code: 'EIO', message: expect.stringMatching(/^only unallocated clusters/) }
    await disk.write(0, filled(1, 512))
    await disk.writeZeroes(CLUSTER, CLUSTER)
    await disk.write(3 * CLUSTER, filled(1, CLUSTER))
    await disk.writeZeroes(3 * CLUSTER, CLUSTER, { mayUnmap: false })
    await disk.writeCompressed(CLUSTER, compressible(CLUSTER, 2))
    for (const at of [0, CLUSTER, 3 * CLUSTER])
      await expect(disk.writeCompressed(at, compressible(CLUSTER, 3))).rejects.toMatchObject(refused)
    // What was begun with the refused cluster is written, as in QEMU.
    await expect(disk.writeCompressed(2 * CLUSTER, filled(4, 3 * CLUSTER))).rejects.toMatchObject(refused)
    expect(await bytesAt(disk, 2 * CLUSTER, CLUSTER)).toEqual(filled(4, CLUSTER))
    expect(await bytesAt(disk, 4 * CLUSTER, CLUSTER)).toEqual(filled(4, CLUSTER))
    await disk.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  it('are refused with an external data file', async () => {
    const data = await createImage({ size: 0 })
    const file = await createImage({ size: 4 * CLUSTER, data_file: 'x' }, data)
    const disk = await open(file, { 'data-file': data })
    await expect(disk.writeCompressed(0, filled(1, CLUSTER))).rejects.toMatchObject({ code: 'ENOTSUP' })
    await disk.close()
  })

  it.each(Object.entries({ overwritten: 0, discarded: 1, zeroed: 2 }))(
    'give back their part of a host cluster when they are %s, and all of it with the last',
    async (_, how) => {
      const { file, disk } = await make()
      const change = async (at: number): Promise<void> => {
        if (how === 0) await disk.write(at + 512, filled(9, 512))
        else if (how === 1) await disk.discard(at, CLUSTER)
        else await disk.writeZeroes(at, CLUSTER, { mayUnmap: true })
      }
      for (let i = 0; i < 3; i++) await disk.writeCompressed(i * CLUSTER, compressible(CLUSTER, i + 1))
      await change(CLUSTER)
      await disk.flush()
      const expected = compressible(CLUSTER, 2)
      if (how === 0) expected.set(filled(9, 512), 512)
      else expected.fill(0)
      expect(sameBytes(await bytesAt(disk, CLUSTER, CLUSTER), expected)).toBe(true)
      expect(sameBytes(await bytesAt(disk, 0, CLUSTER), compressible(CLUSTER, 1))).toBe(true)
      await change(0)
      await change(2 * CLUSTER)
      await disk.flush()
      // Their host cluster is free now: the next one must not continue in it as if it were not.
      await disk.write(8 * CLUSTER, filled(8, CLUSTER))
      await disk.writeCompressed(4 * CLUSTER, compressible(CLUSTER, 5))
      await disk.writeCompressed(5 * CLUSTER, compressible(CLUSTER, 6))
      expect(await bytesAt(disk, 8 * CLUSTER, CLUSTER)).toEqual(filled(8, CLUSTER))
      expect(sameBytes(await bytesAt(disk, 5 * CLUSTER, CLUSTER), compressible(CLUSTER, 6))).toBe(true)
      await disk.close()
      expect(await findings(file)).toMatchObject({ ...SOUND, compressedClusters: 2 })
    },
  )

  it('are compressed at most eight at once for a request', async () => {
    const { createQcow2Driver } = await import('../driver.ts')
    const { DriverRegistry, denyHost, memory, openNode } = await import('@vmblock/block-core')
    let [now, most] = [0, 0]
    const driver = createQcow2Driver({
      codecs: {
        zlib: {
          decompress: () => Promise.reject(new Error('unused')),
          async compress() {
            most = Math.max(most, ++now)
            for (let i = 0; i < 20; i++) await Promise.resolve()
            now--
            return undefined
          },
        },
      },
    })
    const file = await createImage({ size: 32 * CLUSTER })
    const disk = await openNode(
      { registry: new DriverRegistry([memory, driver]), host: denyHost },
      { driver: 'qcow2', file },
    )
    await disk.writeCompressed(0, new Uint8Array(32 * CLUSTER))
    expect(most).toBe(8)
    await disk.close()
  })
})

describe.each([
  ['zlib', {}],
  ['zstd', KINDS.zstd],
  ['clusters of 512 bytes', { cluster_size: 512 }],
  ['clusters of 2 MiB', { cluster_size: 2 ** 21 }],
  ['subclusters', KINDS.subclusters],
  ['1-bit refcounts', KINDS['1-bit refcounts']],
  ['2-bit refcounts', KINDS['2-bit refcounts']],
  ['64-bit refcounts, lazy', { ...KINDS['64-bit refcounts'], ...KINDS.lazy }],
  ['version 2', KINDS['version 2']],
] as const)('a disk that is written in all ways: %s', (_, options) => {
  it('reads back, and is sound', async () => {
    const cluster = Number('cluster_size' in options ? options.cluster_size : CLUSTER)
    const clusters = 12
    const size = clusters * cluster - (cluster > 512 ? 512 : 0)
    const { file, disk } = await make({ ...options, size })
    const random = createRandom(cluster)
    const model = new Uint8Array(size)
    for (let step = 0; step < 120; step++) {
      const at = random.int(0, clusters) * cluster
      const bytes = Math.min(random.int(1, 4) * cluster, size - at)
      const kind = random.int(0, 8)
      if (kind < 4) {
        const data = compressible(bytes, 1 + (step % 250))
        if (kind === 0) data.set(random.bytes(Math.min(bytes, cluster)))
        // Only what is empty can be compressed.
        const isEmpty = model.subarray(at, at + bytes).every((byte) => byte === 0)
        if (isEmpty) await disk.discard(at, bytes).catch(() => undefined)
        const written = await disk.writeCompressed(at, data).then(
          () => true,
          () => false,
        )
        if (written) model.set(data, at)
        else await disk.read(at, model.subarray(at, at + bytes))
      } else if (kind < 6) {
        const from = at + random.int(0, Math.max(1, bytes / 2 / 512)) * 512
        const data = filled(step, Math.min(bytes, size - from))
        await disk.write(from, data)
        model.set(data, from)
      } else if (kind === 6) {
        await disk.writeZeroes(at, bytes, { mayUnmap: random.chance(0.5) })
        model.fill(0, at, at + bytes)
      } else await disk.flush()
    }
    expect(sameBytes(await bytesAt(disk, 0, size), model)).toBe(true)
    await disk.close()
    expect(await findings(file)).toMatchObject(SOUND)
    const again = await open(file)
    expect(sameBytes(await bytesAt(again, 0, size), model)).toBe(true)
    await again.close()
  })
})
