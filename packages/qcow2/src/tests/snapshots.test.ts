/** Internal snapshots: made, applied, deleted and read on a disk that is used meanwhile. */
import { type BlockNode, type RawOptions, snapshotsOf } from '@vmblock/block-core'
import { createRandom, toBytes } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import { bytesAt, createImage, filled, findings, open, SOUND } from '../testing/images.ts'
import { KINDS } from '../testing/kinds.ts'

const CLUSTER = 4096
const SIZE = 64 * CLUSTER

const make = async (options: RawOptions = {}) => {
  const file = await createImage({ size: SIZE, cluster_size: CLUSTER, ...options })
  return { file, disk: await open(file) }
}

const names = async (disk: BlockNode) =>
  (await snapshotsOf(disk).list()).map(({ id, name }) => `${id} ${name}`)

describe.each([
  ['eager', {}],
  ['lazy', KINDS.lazy],
  ['version 2', KINDS['version 2']],
  ['64-bit refcounts', KINDS['64-bit refcounts']],
  ['preallocated', KINDS.preallocated],
] as const)('an image (%s)', (_, options) => {
  test('keeps what it held, and gets it back', async () => {
    const { file, disk } = await make(options)
    const random = createRandom(3)
    const snapshots = snapshotsOf(disk)
    const first = random.bytes(SIZE)
    await disk.write(0, first)
    await snapshots.create('first')
    await disk.write(5000, filled(9, 9000))
    await disk.writeZeroes(32 * CLUSTER, 4 * CLUSTER)
    await disk.discard(40 * CLUSTER, 8 * CLUSTER)
    const second = await toBytes(disk)
    await snapshots.create('second')
    await disk.write(0, filled(7, SIZE / 2))
    await snapshots.apply('first')
    expect(Buffer.compare(await toBytes(disk), first)).toBe(0)
    await disk.write(0, filled(5, 100))
    await snapshots.apply('second')
    expect(Buffer.compare(await toBytes(disk), second)).toBe(0)
    await snapshots.delete('first')
    expect(await names(disk)).toEqual(['2 second'])
    expect(Buffer.compare(await toBytes(disk), second)).toBe(0)
    await disk.write(100, filled(4, 100))
    second.fill(4, 100, 200)
    await snapshots.delete('second')
    await disk.close()
    expect(await findings(file)).toMatchObject(SOUND)
    const again = await open(file)
    expect(Buffer.compare(await toBytes(again), second)).toBe(0)
    await again.close()
  })
})

test('a snapshot is read while the disk is written', async () => {
  const { file, disk } = await make()
  const snapshots = snapshotsOf(disk)
  await disk.write(0, filled(1, SIZE))
  await snapshots.create('one')
  const view = await snapshots.open('one')
  await disk.write(0, filled(2, SIZE))
  await disk.truncate(2 * SIZE)
  await disk.flush()
  expect(view.size).toBe(SIZE)
  expect((await toBytes(view)).every((byte) => byte === 1)).toBe(true)
  await expect(snapshots.delete('one')).rejects.toMatchObject({ code: 'EBUSY' })
  await expect(disk.close()).rejects.toMatchObject({ code: 'EBUSY' })
  await expect(view.write(0, filled(3, 512))).rejects.toMatchObject({ code: 'EPERM' })
  await snapshots.apply('one')
  expect(disk.size).toBe(SIZE)
  await view.close()
  await snapshots.delete('one')
  expect(Buffer.compare(await bytesAt(disk, 0, SIZE), filled(1, SIZE))).toBe(0)
  await disk.close()
  expect(await findings(file)).toMatchObject(SOUND)
})
