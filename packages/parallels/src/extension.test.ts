/** The format extension: dirty bitmaps for readers, damage, and what writers do with it. */
import { type BlockNode, bitmapsOf } from '@vmblock/block-core'
import { viewOf } from '@vmblock/block-core/driver'
import { describe, expect, it } from 'vitest'
import { md5 } from './format/md5.ts'
import { BAT, createImage, FIELD, filled, open, peek, poke } from './testing/images.ts'

const CLUSTER = 4096
const SIZE = 64 * 1024
/** Sector of the extension: the first cluster behind the BAT; its bits are in the next one. */
const AT = CLUSTER / 512
const HEAD = 24
const FEATURE = HEAD + 24
const ID = 'a0a1a2a3-a4a5-a6a7-a8a9-aaabacadaeaf'

/** What a test changes: the cluster before it is summed up. */
type Change = (view: DataView) => void

const change32 =
  (offset: number, value: number): Change =>
  (view) =>
    view.setUint32(offset, value, true)

/** An image with one bitmap: 128 bits of a sector each, which are 1 byte in 8 of `bits`. */
async function withBitmap(
  change: Change = () => undefined,
  bits = [0b0000_0110, 0, 0xff],
): Promise<BlockNode> {
  const file = await createImage({ size: SIZE, cluster_size: CLUSTER })
  const cluster = new Uint8Array(CLUSTER)
  const view = viewOf(cluster)
  view.setBigUint64(0, 0xab234cef23dcea87n, true)
  view.setBigUint64(HEAD, 0x20385fae252cb34an, true)
  view.setUint32(HEAD + 16, 40, true)
  view.setBigUint64(FEATURE, BigInt(SIZE / 512), true)
  for (let at = 0; at < 16; at++) cluster[FEATURE + 8 + at] = 0xa0 + at
  view.setUint32(FEATURE + 24, 1, true)
  view.setUint32(FEATURE + 28, 1, true)
  view.setBigUint64(FEATURE + 32, BigInt(2 * AT), true)
  change(view)
  cluster.set(md5(cluster.subarray(HEAD)), 8)
  await file.write(CLUSTER, cluster)
  const data = new Uint8Array(CLUSTER)
  data.set(bits)
  await file.write(2 * CLUSTER, data)
  await poke(file, FIELD.extension, AT)
  return file
}

describe('MD5', () => {
  it.each([
    ['', 'd41d8cd98f00b204e9800998ecf8427e'],
    ['abc', '900150983cd24fb0d6963f7d28e17f72'],
    [
      '12345678901234567890123456789012345678901234567890123456789012345678901234567890',
      '57edf4a22be3c955ac49da2e2107b67a',
    ],
    ['a'.repeat(64), '014842d480b571495a4a0363793f7367'],
  ])('of %s', (text, digest) => {
    expect(Buffer.from(md5(new TextEncoder().encode(text))).toString('hex')).toBe(digest)
  })
})

describe('a bitmap', () => {
  it('can be read, and not changed', async () => {
    const { node } = await open(await withBitmap(), { readOnly: true })
    const bitmaps = bitmapsOf(node)
    expect(await bitmaps.isSupported()).toBe(false)
    expect(await bitmaps.list()).toEqual([
      { name: ID, granularity: 512, enabled: false, inconsistent: false, inUse: false },
    ])
    expect(await bitmaps.dirtyRanges(ID)).toEqual([
      { offset: 512, bytes: 1024 },
      { offset: 16 * 512, bytes: 8 * 512 },
    ])
    await expect(bitmaps.dirtyRanges('x')).rejects.toMatchObject({ code: 'ENOENT' })
    await node.close()
  })

  it.each([
    [0n, []],
    [1n, [{ offset: 0, bytes: SIZE }]],
  ])('may be all %i', async (entry, ranges) => {
    const file = await withBitmap((view) => view.setBigUint64(FEATURE + 32, entry, true))
    const { node } = await open(file, { readOnly: true })
    expect(await bitmapsOf(node).dirtyRanges(ID)).toEqual(ranges)
    await node.close()
  })

  it('is dropped before the first write, durably, and not by a writer that writes nothing', async () => {
    const file = await withBitmap()
    const idle = await open(file)
    await idle.node.close()
    expect(await peek(file, FIELD.extension, 1)).toEqual([AT])
    const { node, log } = await open(file, { 'prealloc-size': 0 })
    await node.write(0, filled(1, 10))
    expect(log.entries.slice(0, 2)).toMatchObject([{ kind: 'write', offset: FIELD.inUse }, { kind: 'flush' }])
    expect(await peek(file, FIELD.extension, 2)).toEqual([0, 0])
    expect(await bitmapsOf(node).list()).toEqual([])
    const bytes = new Uint8Array(CLUSTER)
    await node.read(0, bytes)
    expect(bytes.filter((byte) => byte !== 0)).toEqual(filled(1, 10))
    await node.close()
    expect(file.size).toBe(2 * CLUSTER)
    expect(await peek(file, BAT, 1)).toEqual([1])
  })

  it('is no leak, and survives a repair', async () => {
    const file = await withBitmap()
    const { node } = await open(file, { 'check-mode': true })
    expect(await node.check({ repair: 'all' })).toMatchObject({ leaks: 0, leaksFixed: 0 })
    await node.close()
    expect(file.size).toBe(3 * CLUSTER)
    const again = await open(file, { readOnly: true })
    expect(await bitmapsOf(again.node).dirtyRanges(ID)).toHaveLength(2)
    await again.node.close()
  })
})

describe('an extension', () => {
  it.each<[string, Change, string]>([
    [
      'another magic',
      change32(0, 1),
      'Wrong parallels Format Extension magic: 0xab234cef00000001, expected: 0xab234cef23dcea87',
    ],
    ['an unknown feature', change32(HEAD, 1), 'Unknown feature: 0x20385fae00000001'],
    [
      'a feature of too many bytes',
      change32(HEAD + 16, CLUSTER),
      'Feature data_size exceedes Format Extension cluster',
    ],
    [
      'a feature up to the end',
      change32(HEAD + 16, CLUSTER - FEATURE),
      'Can not read feature header, as remaining bytes (0)',
    ],
    [
      'a short bitmap',
      change32(HEAD + 16, 31),
      'Too small Bitmap Feature area in Parallels Format Extension: 31 bytes, expected at least 32 bytes',
    ],
    [
      'a bitmap of another disk',
      change32(FEATURE, 5),
      'Bitmap size (in sectors) 5 differs from disk size in sectors 128',
    ],
    [
      'a table that is cut off',
      change32(FEATURE + 28, 2),
      'Bitmaps feature corrupted: l1 table exceeds extension data_size',
    ],
    ['no granularity', change32(FEATURE + 24, 0), 'Bitmap granularity of 0 sectors is not a power of two'],
    [
      'no table',
      change32(FEATURE + 28, 0),
      'Bitmap table size 0 does not correspond to bitmap size and cluster size. Expected 1',
    ],
    [
      'bits outside the file',
      change32(FEATURE + 32, 3 * AT),
      'Failed to read bitmap data cluster: sector 24 is outside the file',
    ],
  ])('with %s cannot be read, and is dropped by a writer', async (_, change, message) => {
    const file = await withBitmap(change)
    await expect(open(file, { readOnly: true })).rejects.toThrow(message)
    const { node } = await open(file, { 'prealloc-size': 0 })
    await node.write(0, filled(1, 10))
    await node.close()
    const again = await open(file, { readOnly: true })
    await again.node.close()
  })

  it('with a wrong sum cannot be read', async () => {
    const file = await withBitmap()
    await poke(file, CLUSTER + 2000, 1)
    await expect(open(file, { readOnly: true })).rejects.toThrow('Wrong checksum in Format Extension header.')
  })

  it('outside the file cannot be read', async () => {
    const file = await withBitmap()
    await poke(file, FIELD.extension + 4, 0xffff_ffff)
    await expect(open(file, { readOnly: true })).rejects.toThrow('Failed to read Format Extension cluster')
  })

  it.each([1, 2])('with a feature that has to stay (flags %i) forbids writes', async (flags) => {
    const file = await withBitmap(change32(HEAD + 8, flags))
    await expect(open(file)).rejects.toMatchObject({
      code: 'ENOTSUP',
      message: 'Flags for extension feature are unsupported, so the image cannot be written',
    })
    expect(await peek(file, FIELD.extension, 1)).toEqual([AT])
  })
})
