/** Internal snapshots: made, applied, deleted and read on a disk that is used meanwhile. */
import { type BlockNode, type RawOptions, snapshotsOf } from '@vmblock/block-core'
import { createRandom, toBytes } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import { encodeName } from '../format/encode-name.ts'
import { parseSnapshotTable, serializeSnapshotTable } from '../format/snapshot-layout.ts'
import {
  bytesAt,
  createImage,
  emptyDisk,
  filled,
  findings,
  open,
  openLogged,
  SOUND,
} from '../testing/images.ts'
import { KINDS } from '../testing/kinds.ts'
import { headerIn } from '../testing/plain-header.ts'

const CLUSTER = 4096
const SIZE = 64 * CLUSTER

const make = async (options: RawOptions = {}) => {
  const file = await createImage({ size: SIZE, cluster_size: CLUSTER, ...options })
  return { file, disk: await open(file) }
}

const headerOf = async (file: BlockNode) => headerIn(await bytesAt(file, 0, 512), true)

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
  await expect(disk.compact()).rejects.toMatchObject({ code: 'EBUSY' })
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

test('with lazy refcounts, what replaces the data of a snapshot is durable before an entry shows it', async () => {
  const file = await createImage({ size: SIZE, cluster_size: CLUSTER, lazy_refcounts: 'on' })
  const { node, log } = await openLogged(file)
  await node.write(0, filled(1, SIZE))
  await snapshotsOf(node).create('one')
  // The first write sets the dirty bit, and copies the table.
  await node.write(0, filled(2, CLUSTER))
  await node.flush()
  const before = log.entries.length
  await node.write(8 * CLUSTER, filled(3, CLUSTER))
  await node.flush()
  const steps = log.entries.slice(before).map(({ kind, bytes }) => (kind === 'write' ? bytes : kind))
  expect(steps).toEqual([CLUSTER, 'flush', 512, 'flush'])
  await node.close()
})

describe('a snapshot that cannot be made', () => {
  test('leaves nothing behind where refcounts are too narrow', async () => {
    const { file, disk } = await make({ refcount_bits: 1 })
    await disk.write(0, filled(1, SIZE))
    await disk.flush()
    await expect(snapshotsOf(disk).create('one')).rejects.toMatchObject({ code: 'EINVAL' })
    await disk.write(0, filled(2, CLUSTER))
    await disk.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test('is refused beside a data file', async () => {
    const data = await emptyDisk()
    const file = await createImage({ size: SIZE, data_file: 'x' }, data)
    const disk = await open(file, { 'data-file': data })
    await expect(snapshotsOf(disk).create('one')).rejects.toMatchObject({ code: 'ENOTSUP' })
    await expect(snapshotsOf(disk).apply('one')).rejects.toMatchObject({ code: 'ENOTSUP' })
    await disk.close()
  })
})

test('names and ids are cut, ids count on past 2^53, and unknown extra data stays', async () => {
  const { file, disk } = await make()
  const snapshots = snapshotsOf(disk)
  await snapshots.create('n'.repeat(300))
  await snapshots.create('\u00fc')
  await snapshots.create('')
  expect(await names(disk)).toEqual([`1 ${'n'.repeat(255)}`, '2 \u00fc', '3 '])
  await disk.close()
  // The id of the second becomes one beyond 2^53, and the first gets more extra data.
  const table = Number((await headerOf(file)).snapshotsOffset)
  const bytes = await bytesAt(file, table, 4096)
  const { snapshots: entries } = parseSnapshotTable(bytes, 3)
  entries[1]!.id = encodeName('9007199254740993')
  entries[0]!.unknownExtraData = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8)
  await file.write(table, serializeSnapshotTable(entries, SIZE))
  const again = await open(file)
  expect(await snapshotsOf(again).create('next')).toMatchObject({ id: '9007199254740994' })
  await snapshotsOf(again).delete({ id: '3' })
  await snapshotsOf(again)
    .delete('n'.repeat(400))
    .catch(() => undefined)
  expect(await names(again)).toEqual(['9007199254740993 \u00fc', '9007199254740994 next'])
  await again.close()
  expect(await findings(file)).toMatchObject(SOUND)
})

test('unknown extra data of an entry survives other snapshots', async () => {
  const { file, disk } = await make()
  await snapshotsOf(disk).create('one')
  await disk.close()
  const extra = Uint8Array.of(9, 8, 7, 6, 5, 4, 3, 2)
  const { snapshotsOffset } = await headerOf(file)
  const { snapshots: entries } = parseSnapshotTable(await bytesAt(file, snapshotsOffset, 512), 1)
  await file.write(
    snapshotsOffset,
    serializeSnapshotTable([{ ...entries[0]!, unknownExtraData: extra }], SIZE),
  )
  const again = await open(file)
  await snapshotsOf(again).create('two')
  await again.close()
  const { snapshotsOffset: moved } = await headerOf(file)
  const { snapshots: after } = parseSnapshotTable(await bytesAt(file, moved, 512), 2)
  expect(after[0]!.unknownExtraData).toEqual(extra)
})

describe('machine state', () => {
  const state = (view: BlockNode, bytes: number): Promise<Uint8Array> => {
    const into = new Uint8Array(bytes)
    return view.readVmState(0, into).then(() => into)
  }

  test('goes with its snapshot, and with those made while the disk has it', async () => {
    const { file, disk } = await make()
    const snapshots = snapshotsOf(disk)
    await disk.writeVmState(0, filled(5, 10_000))
    expect(await snapshots.create('running', { vmStateSize: 10_000 })).toMatchObject({ vmStateSize: 10_000n })
    expect((await state(disk, 10_000)).every((byte) => byte === 0)).toBe(true)
    const view = await snapshots.open('running')
    expect((await state(view, 10_000)).every((byte) => byte === 5)).toBe(true)
    await view.close()
    await snapshots.apply('running')
    expect((await state(disk, 10_000)).every((byte) => byte === 5)).toBe(true)
    await snapshots.create('again')
    await snapshots.create('stopped')
    const bytes = async (tag: string) => {
      const view = await snapshots.open(tag)
      const found = new Set(await state(view, 10_000))
      await view.close()
      return [...found]
    }
    expect([await bytes('running'), await bytes('again'), await bytes('stopped')]).toEqual([[5], [5], [0]])
    await disk.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test('does not become content when the disk grows over it', async () => {
    const { file, disk } = await make({ cluster_size: 512, size: 32 * 1024 })
    await disk.writeVmState(0, filled(5, 10_000))
    await disk.truncate(128 * 1024)
    expect((await toBytes(disk)).every((byte) => byte === 0)).toBe(true)
    await disk.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })
})

test('observers learn of an applied snapshot, and of the size', async () => {
  const { disk } = await make()
  const snapshots = snapshotsOf(disk)
  await snapshots.create('one')
  await disk.truncate(2 * SIZE)
  const told: unknown[] = []
  disk.observe({ before: ({ kind, offset, bytes }) => void told.push([kind, offset, bytes]) })
  disk.on('resize', (size) => told.push(size))
  await snapshots.create('two')
  await snapshots.delete('two')
  await snapshots.apply('one')
  expect(told).toEqual([['applySnapshot', 0, 2 * SIZE], SIZE])
  await disk.close()
})

test('requests that come meanwhile wait, and go on', async () => {
  const { file, disk } = await make()
  const snapshots = snapshotsOf(disk)
  await disk.write(0, filled(1, SIZE))
  await Promise.all([
    disk.write(0, filled(2, CLUSTER)),
    snapshots.create('one'),
    disk.write(0, filled(3, CLUSTER)),
    disk.read(0, new Uint8Array(CLUSTER)),
    snapshots.create('two'),
    disk.write(0, filled(4, CLUSTER)),
  ])
  await snapshots.apply('one')
  const [first] = await bytesAt(disk, 0, 1)
  expect([2, 3, 4]).toContain(first)
  await snapshots.apply('two')
  await disk.close()
  expect(await findings(file)).toMatchObject(SOUND)
})

test('a downgrade is possible with snapshots that version 2 understands', async () => {
  const { file, disk } = await make()
  const snapshots = snapshotsOf(disk)
  await disk.write(0, filled(1, SIZE))
  await snapshots.create('one')
  await disk.truncate(2 * SIZE)
  await expect(disk.amend({ compat: '0.10' })).rejects.toThrow(
    'Internal snapshots prevent downgrade of image',
  )
  await snapshots.apply('one')
  await disk.amend({ compat: '0.10' })
  await snapshots.apply('one')
  await expect(disk.truncate(2 * SIZE)).rejects.toThrow("Can't resize a v2 image which has snapshots")
  await disk.close()
  expect(await findings(file)).toMatchObject(SOUND)
})

test('a downgrade is refused where a snapshot has zero clusters', async () => {
  const { disk } = await make()
  await disk.writeZeroes(0, CLUSTER)
  await snapshotsOf(disk).create('one')
  await expect(disk.amend({ compat: '0.10' })).rejects.toThrow('zero clusters prevent downgrade')
  await disk.close()
})
