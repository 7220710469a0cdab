/**
 * Operations on images other than reading and writing: reopening, amending, repairing, emptying, refusing.
 */
import { type CheckReport, openNode, reopenNode } from '@vmblock/block-core'
import { toBytes } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import {
  bytesAt,
  type copyOf,
  createImage,
  emptyDisk,
  environment,
  filled,
  findings,
  open,
  pattern,
  poke,
  SAFE,
  SOUND,
  sameBytes,
} from '../testing/images.ts'

const CLUSTER = 65536
const LAZY = { size: 2 ** 20, lazy_refcounts: 'on' }

const isDirty = async (file: Parameters<typeof open>[0]): Promise<boolean> =>
  ((await bytesAt(file, 79, 1))[0]! & 1) !== 0

/** A lazy image whose writer crashed: data is written, its refcounts are not. */
async function crashedImage(): Promise<Awaited<ReturnType<typeof copyOf>>> {
  const file = await createImage(LAZY)
  const node = await open(file, { cache: { writeback: false } })
  await node.write(0, pattern(CLUSTER))
  await node.crash()
  expect(await isDirty(file)).toBe(true)
  return file
}

describe('a dirty image', () => {
  test('is repaired when it is opened for writing, and says so', async () => {
    const file = await crashedImage()
    const repairs: CheckReport[] = []
    const node = await open(file, { readOnly: true })
    node.on('repair', (report) => repairs.push(report))
    expect((await node.info()).dirty).toBe(true)
    await reopenNode(node, { readOnly: false })
    expect(repairs).toMatchObject([{ corruptions: 0, corruptionsFixed: expect.any(Number) }])
    expect((await node.info()).dirty).toBe(false)
    await node.write(CLUSTER, filled(2, CLUSTER))
    expect(sameBytes(await bytesAt(node, 0, CLUSTER), pattern(CLUSTER))).toBe(true)
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test('stays dirty when leaks alone were repaired, whichever node closes it', async () => {
    const file = await crashedImage()
    const node = await open(file, { checkMode: true })
    await expect(node.check({ repair: 'leaks' })).rejects.toMatchObject({ code: 'EIO' })
    await node.close()
    expect(await isDirty(file)).toBe(true)
    const again = await open(file)
    await again.write(CLUSTER, filled(2, CLUSTER))
    expect(sameBytes(await bytesAt(again, 0, CLUSTER), pattern(CLUSTER))).toBe(true)
    await again.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test('that cannot be repaired is refused, stays dirty and read-only', async () => {
    const file = await crashedImage()
    const debug = await openNode(environment, {
      driver: 'blkdebug',
      image: file,
      injectError: [{ event: 'none', iotype: 'write', errno: 28 }],
    })
    await expect(open(debug)).rejects.toMatchObject({
      message: expect.stringContaining('Could not repair dirty image'),
    })
    const node = await open(debug, { readOnly: true })
    await expect(reopenNode(node, { readOnly: false })).rejects.toBeDefined()
    expect(sameBytes(await bytesAt(node, 0, CLUSTER), pattern(CLUSTER))).toBe(true)
    await node.close()
    expect(await isDirty(file)).toBe(true)
  })

  test('loses the refcounts of clusters behind its end, too', async () => {
    const file = await createImage({ ...LAZY, cluster_size: 512 })
    const node = await open(file)
    await node.write(0, pattern(512))
    await node.close()
    // The next clusters were allocated and counted, their data was lost, and the file did not grow.
    await poke(file, 79, [1])
    await poke(file, 2 * 512 + (file.size / 512) * 2, [0, 1, 0, 1])
    expect(await findings(file)).toMatchObject(SOUND)
    const again = await open(file)
    await again.write(8 * 512, pattern(8 * 512))
    await again.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test('as a backing file is left alone', async () => {
    const base = await crashedImage()
    const before = await toBytes(base)
    const below = await open(base, { readOnly: true })
    const node = await openNode(environment, {
      driver: 'qcow2',
      file: await createImage({ size: 2 ** 20 }),
      backing: below,
    })
    await node.write(100, filled(1, 100))
    await node.close()
    expect(sameBytes(await toBytes(base), before)).toBe(true)
  })
})

describe('lazy refcounts', () => {
  test('come and go by a reopen, and go clean', async () => {
    const file = await createImage({ size: 2 ** 20 })
    const node = await open(file)
    await reopenNode(node, { options: { 'lazy-refcounts': true } })
    await node.write(0, pattern(CLUSTER))
    expect(await isDirty(file)).toBe(true)
    await reopenNode(node, { options: { 'lazy-refcounts': false } })
    expect(await isDirty(file)).toBe(false)
    await node.write(CLUSTER, pattern(CLUSTER))
    await node.flush()
    expect(await isDirty(file)).toBe(false)
    await node.crash()
    expect(await findings(file)).toMatchObject(SAFE)
  })

  test('are made right when the image becomes read-only', async () => {
    const file = await createImage(LAZY)
    const node = await open(file)
    await node.write(0, pattern(CLUSTER))
    await reopenNode(node, { readOnly: true })
    expect(await findings(file)).toMatchObject(SOUND)
    expect(await isDirty(file)).toBe(false)
    await node.crash()
  })

  test('are refused in version 2', async () => {
    const file = await createImage({ size: 2 ** 20, compat: '0.10' })
    await expect(open(file, { 'lazy-refcounts': true })).rejects.toMatchObject({
      message: expect.stringContaining('Lazy refcounts require a qcow2 image with at least qemu 1.1'),
    })
  })
})

describe('crash', () => {
  test('writes nothing, and what was not flushed is gone', async () => {
    const file = await createImage({ size: 2 ** 20 })
    const node = await open(file)
    await node.write(0, filled(1, CLUSTER))
    await node.flush()
    const before = await toBytes(file)
    await node.writeZeroes(0, CLUSTER)
    const late = node.flush().catch((error: unknown) => error)
    await node.crash()
    expect(await late).toMatchObject({ code: 'ECANCELED' })
    expect(sameBytes(await toBytes(file), before)).toBe(true)
  })
})

describe('amending', () => {
  const amended = async (create: object, options: Record<string, unknown>) => {
    const file = await createImage({ size: 2 ** 20, ...create })
    const node = await open(file)
    await node.write(0, pattern(3 * CLUSTER))
    await node.writeZeroes(CLUSTER, CLUSTER)
    await node.writeZeroes(2 * CLUSTER, CLUSTER, { mayUnmap: true })
    await node.writeZeroes(5 * CLUSTER, CLUSTER)
    const expected = await toBytes(node)
    const error: unknown = await node.amend(options).then(
      () => undefined,
      (reason: unknown) => reason,
    )
    await node.write(9 * CLUSTER, filled(1, 100))
    expected.fill(1, 9 * CLUSTER, 9 * CLUSTER + 100)
    expect(sameBytes((await toBytes(node)).subarray(0, 2 ** 19), expected.subarray(0, 2 ** 19))).toBe(true)
    const { formatSpecific } = await node.info()
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
    const again = await open(file, { readOnly: true })
    expect((await again.info()).formatSpecific).toEqual(formatSpecific)
    expect(sameBytes((await toBytes(again)).subarray(0, 2 ** 19), expected.subarray(0, 2 ** 19))).toBe(true)
    const { size } = again
    await again.close()
    return { error, data: formatSpecific!.data, size }
  }

  test.each([
    [{}, { compat: '0.10' }, { compat: '0.10' }],
    [{ lazy_refcounts: 'on' }, { compat: '0.10' }, { compat: '0.10' }],
    [{ lazy_refcounts: 'on' }, { lazy_refcounts: 'off' }, { compat: '1.1', 'lazy-refcounts': false }],
    [{}, { lazy_refcounts: 'on' }, { 'lazy-refcounts': true }],
    [{}, { size: 2 ** 21 }, { compat: '1.1' }],
    [{}, { size: 2 ** 21, compat: '0.10' }, { compat: '0.10' }],
  ])('%j by %j', async (create, options, expected) => {
    const { error, data, size } = await amended(create, options)
    expect(error).toBeUndefined()
    expect(data).toMatchObject(expected)
    expect(size).toBe('size' in options ? options.size : 2 ** 20)
  })

  test('up and down again', async () => {
    const file = await createImage({ size: 2 ** 20, compat: '0.10' })
    const node = await open(file)
    await node.write(0, pattern(CLUSTER))
    await node.amend({ compat: '1.1', lazy_refcounts: 'on' })
    await node.writeZeroes(0, 512 * 4)
    await node.writeZeroes(3 * CLUSTER, CLUSTER)
    await node.amend({ compat: '0.10' })
    expect((await node.info()).formatSpecific?.data).toMatchObject({ compat: '0.10' })
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test('down a lazy image leaves one whose refcounts are kept up to date', async () => {
    const below = await openNode(environment, { driver: 'memory', size: 2 ** 20 })
    const file = await createImage(LAZY)
    const node = await openNode(environment, { driver: 'qcow2', file, backing: below })
    // In version 2, zeroes over a backing file are data: the downgrade allocates clusters.
    await below.write(0, filled(7, 2 ** 20))
    await node.writeZeroes(0, CLUSTER)
    await node.amend({ compat: '0.10' })
    expect((await node.info()).dirty).toBe(false)
    await node.write(4 * CLUSTER, pattern(CLUSTER))
    await node.flush()
    await node.crash()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test('to version 2 keeps the place of zero clusters that have one', async () => {
    const file = await createImage({ size: 2 ** 20 })
    const node = await open(file)
    await node.write(0, filled(7, 2 * CLUSTER))
    await node.writeZeroes(0, CLUSTER)
    await node.writeZeroes(CLUSTER, CLUSTER, { mayUnmap: true })
    await node.amend({ compat: '0.10' })
    expect(await bytesAt(node, 0, 2 * CLUSTER)).toEqual(filled(0, 2 * CLUSTER))
    const held = (at: number) => node.blockStatus(at, CLUSTER).then(({ allocated }) => allocated)
    expect([await held(0), await held(CLUSTER)]).toEqual([true, false])
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test('to version 2 is not stopped by the compression type, and names what else does', async () => {
    const node = await open(await createImage({ size: 2 ** 20, compression_type: 'zstd', extended_l2: 'on' }))
    await expect(node.amend({ compat: '0.10' })).rejects.toThrow('incompatible features 0x10 set')
    await node.close()
  })

  test('to a larger size does not show what a longer backing file has there', async () => {
    const below = await openNode(environment, { driver: 'memory', size: 2 ** 20 })
    await below.write(0, filled(7, 2 ** 20))
    const file = await createImage({ size: 2 ** 18 })
    const node = await openNode(environment, { driver: 'qcow2', file, backing: below })
    await node.amend({ size: 2 ** 20 })
    expect(await bytesAt(node, 2 ** 18 - 100, 100)).toEqual(filled(7, 100))
    expect(sameBytes(await bytesAt(node, 2 ** 18, 3 * 2 ** 18), new Uint8Array(3 * 2 ** 18))).toBe(true)
    await node.close()
  })

  test.each([
    [{ refcount_bits: 64 }, { compat: '0.10' }, 'compat=0.10 requires refcount_bits=16'],
    [{ extended_l2: 'on' }, { compat: '0.10' }, 'incompatible features 0x10 set'],
    [
      {},
      { compat: '0.10', lazy_refcounts: 'on' },
      'Lazy refcounts only supported with compatibility level 1.1',
    ],
    [{}, { compat: '9' }, 'Unknown compatibility level 9'],
    [{}, { cluster_size: 4096 }, "'cluster_size'"],
  ])('%j by %j is refused', async (create, options, message) => {
    const { error } = await amended(create, options)
    expect(error).toMatchObject({ message: expect.stringContaining(message) })
  })
})

describe('the header', () => {
  test('takes, changes and loses the name of a backing file', async () => {
    const file = await createImage({ size: 2 ** 20 })
    const node = await open(file)
    await node.changeBackingFile('base.raw', 'raw')
    expect(await node.info()).toMatchObject({ backingFilename: 'base.raw', backingFormat: 'raw' })
    await node.changeBackingFile('other', undefined)
    expect((await node.info()).backingFormat).toBeUndefined()
    await expect(node.changeBackingFile('x'.repeat(1024), 'raw')).rejects.toMatchObject({ code: 'EINVAL' })
    await node.changeBackingFile(null, undefined)
    await node.close()
    const again = await open(file)
    expect((await again.info()).backingFilename).toBeUndefined()
    await again.close()
  })

  test('of an encrypted image is refused', async () => {
    const file = await createImage({ size: 2 ** 20 })
    await poke(file, 35, [1])
    await expect(open(file)).rejects.toMatchObject({
      message: "Parameter 'encrypt.key-secret' is required for cipher",
    })
  })

  test('with an unknown incompatible feature is refused, and one that is compatible is kept', async () => {
    const file = await createImage({ size: 2 ** 20 })
    await poke(file, 80, [0x80])
    await (await open(file)).close()
    expect((await bytesAt(file, 80, 1))[0]).toBe(0x80)
    await poke(file, 72, [0x40])
    await expect(open(file)).rejects.toMatchObject({ code: 'ENOTSUP' })
  })

  test('that is corrupt is repaired, and then trusted', async () => {
    const file = await createImage({ size: 2 ** 20 })
    await poke(file, 79, [2])
    await expect(open(file)).rejects.toMatchObject({ code: 'EACCES' })
    const reader = await open(file, { readOnly: true })
    await expect(reopenNode(reader, { readOnly: false })).rejects.toMatchObject({ code: 'EACCES' })
    await reader.close()
    const node = await open(file, { checkMode: true })
    expect(await node.check({ repair: 'all' })).toMatchObject(SAFE)
    await node.close()
    const again = await open(file)
    await again.write(0, filled(1, 10))
    await again.close()
  })
})

describe('corruption', () => {
  test('of an entry that points between clusters is told once to readers, and stops writers', async () => {
    const file = await createImage({ size: 2 ** 20 })
    const writer = await open(file)
    await writer.write(0, pattern(2 * CLUSTER))
    await writer.close()
    await poke(file, 0x40000, [0x80, 0, 0, 0, 0, 5, 0x2a, 0])
    await poke(file, 0x40008, [0x80, 0, 0, 0, 0, 6, 0x2a, 0])
    const message = (at: number): string =>
      `Cluster allocation offset 0x${at.toString(16)} unaligned (L2 offset: 0x40000, L2 index: ${at === 0x52a00 ? '0' : '0x1'})`
    const reader = await open(file, { readOnly: true })
    const lines: string[] = []
    reader.on('warn', (line) => lines.push(line))
    for (let i = 0; i < 2; i++)
      await expect(bytesAt(reader, 0, 512)).rejects.toMatchObject({ code: 'EIO', message: message(0x52a00) })
    expect(lines).toEqual([
      `qcow2: Image is corrupt: ${message(0x52a00)}; further non-fatal corruption events will be suppressed`,
    ])
    await reader.close()
    const node = await open(file)
    node.on('warn', (line) => lines.push(line))
    await node.discard(0, CLUSTER)
    await expect(bytesAt(node, CLUSTER, 512)).rejects.toMatchObject({ message: message(0x62a00) })
    expect(lines.slice(1)).toEqual([
      'qcow2: Image is corrupt: Cannot free unaligned cluster 0x52a00; further non-fatal corruption events will be suppressed',
      `qcow2: Marking image as corrupt: ${message(0x62a00)}; further corruption events will be suppressed`,
    ])
    await expect(node.write(3 * CLUSTER, filled(1, 1))).rejects.toMatchObject({ code: 'ENOMEDIUM' })
    await node.close()
  })
})

describe('an image', () => {
  test('that is emptied shows its backing file', async () => {
    const below = await openNode(environment, { driver: 'memory', size: 2 ** 20 })
    await below.write(0, pattern(2 ** 20))
    const file = await createImage({ size: 2 ** 20, cluster_size: 4096 })
    const node = await openNode(environment, { driver: 'qcow2', file, backing: below })
    await node.write(1000, filled(1, 500_000))
    await node.writeZeroes(600_000, 100_000)
    await node.makeEmpty()
    expect(sameBytes(await toBytes(node), pattern(2 ** 20))).toBe(true)
    await node.write(5, filled(1, 5))
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test('that grows does not show what a longer backing file has there, nor what it was cut off', async () => {
    const below = await openNode(environment, { driver: 'memory', size: 2 ** 20 })
    await below.write(0, filled(7, 2 ** 20))
    for (const options of [{}, { zero: true }, { preallocation: 'metadata' }] as const) {
      const file = await createImage({ size: 68 * 1024 })
      const node = await openNode(environment, { driver: 'qcow2', discard: 'unmap', file, backing: below })
      await node.truncate(2 ** 19, options)
      expect(sameBytes(await bytesAt(node, 0, 68 * 1024), filled(7, 68 * 1024))).toBe(true)
      expect(sameBytes(await bytesAt(node, 68 * 1024, 2 ** 18), new Uint8Array(2 ** 18))).toBe(true)
      expect(await bytesAt(node, 2 ** 19 - 1000, 1000)).toEqual(new Uint8Array(1000))
      await node.close()
      expect(await findings(file)).toMatchObject(SOUND)
    }
  })

  test('keeps machine state behind its disk', async () => {
    const file = await createImage({ size: 2 ** 20, cluster_size: 4096 })
    const node = await open(file)
    await node.writeVmState(0, pattern(100_000, 1))
    await node.writeVmState(3 * 2 ** 20 + 77, pattern(10_000, 2))
    await node.write(2 ** 20 - 512, filled(1, 512))
    await node.close()
    const again = await open(file)
    const into = new Uint8Array(10_000)
    await again.readVmState(3 * 2 ** 20 + 77, into)
    expect(into).toEqual(pattern(10_000, 2))
    await again.readVmState(90_000, into)
    expect(into).toEqual(pattern(100_000, 1).subarray(90_000))
    await again.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test('joins the status of clusters that lie in a row, across tables', async () => {
    const file = await createImage({ size: 2 ** 20, cluster_size: 512 })
    const node = await open(file)
    expect((await node.blockStatus(0, 2 ** 20)).bytes).toBe(2 ** 20)
    await node.writeZeroes(2 ** 19, 2 ** 18)
    expect(await node.blockStatus(0, 2 ** 20)).toMatchObject({ bytes: 2 ** 19, allocated: false })
    expect(await node.blockStatus(2 ** 19, 2 ** 19)).toMatchObject({
      bytes: 2 ** 18,
      zero: true,
      allocated: true,
    })
    await node.close()
  })

  test('needs its data file, and no other image takes one', async () => {
    const data = await emptyDisk()
    const file = await createImage({ size: 2 ** 20, data_file: 'd' }, data)
    await expect(open(file, { 'data-file': null })).rejects.toMatchObject({
      message: expect.stringContaining("'data-file' is required for this image"),
    })
    await expect(
      open(await createImage({ size: 2 ** 20 }), { 'data-file': await emptyDisk() }),
    ).rejects.toMatchObject({
      message: expect.stringContaining("'data-file' can only be set for images with an external data file"),
    })
  })
})
