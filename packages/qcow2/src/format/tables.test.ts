import { alignUp } from '@vmblock/block-core/driver'
import { afterAll, describe, expect, it } from 'vitest'
import { haveQemu, openBench } from '../../../../tests/support/real-qemu.ts'
import { headerIn } from '../testing/plain-header.ts'
import {
  type BitmapEntry,
  bitmapCluster,
  parseBitmapDirectory,
  serializeBitmapDirectory,
} from './bitmap-layout.ts'
import { encodeName } from './encode-name.ts'
import {
  clipSnapshot,
  MAX_SNAPSHOT_HEAD,
  parseSnapshotTable,
  type Snapshot,
  serializeSnapshotTable,
  snapshotSizes,
} from './snapshot-layout.ts'
import { decodeName } from './words.ts'

const MIB = 2 ** 20

/** Bytes as in the file. */
const text = encodeName

const snapshot = (changes: Partial<Snapshot> = {}): Snapshot => ({
  l1TableOffset: 5n * 65536n,
  l1Size: 1,
  id: text('1'),
  name: text('before the upgrade'),
  dateSec: 1_700_000_000,
  dateNsec: 5,
  vmClockNsec: (1n << 60n) + 1n,
  vmStateSize: 1n << 60n,
  diskSize: 128n * 1024n * 1024n,
  icount: undefined,
  extraDataSize: 24,
  unknownExtraData: new Uint8Array(0),
  ...changes,
})

describe('the snapshot table', () => {
  const table = [
    snapshot(),
    snapshot({ id: text('2'), name: text(''), icount: 7n, vmStateSize: 0n }),
    snapshot({
      id: text('10'),
      name: text('\u00fcber'),
      extraDataSize: 31,
      unknownExtraData: Uint8Array.of(1, 2, 3, 4, 5, 6, 7),
    }),
  ]
  const bytes = serializeSnapshotTable(table, 0)

  it('keeps everything through a round trip, unknown extra data too', () => {
    const parsed = parseSnapshotTable(bytes, 3)
    expect(parsed).toMatchObject({ snapshots: table, length: bytes.length, stop: 'count' })
    expect(serializeSnapshotTable(parsed.snapshots, 0)).toEqual(bytes)
  })

  it('asks for more bytes when it ends beyond those given', () => {
    for (let given = 0; given < bytes.length; given++)
      expect(parseSnapshotTable(bytes.subarray(0, given), 3).stop).toBe('bytes')
    expect(parseSnapshotTable(bytes, 4).stop).toBe('bytes')
  })

  it('understands entries of old images, without extra data', () => {
    const old = new Uint8Array(48)
    const view = new DataView(old.buffer)
    view.setUint16(12, 1)
    view.setUint16(14, 2)
    view.setUint32(32, 1234)
    old.set([0x31, 0x61, 0x62], 40)
    const { snapshots, length } = parseSnapshotTable(old, 1)
    expect(length).toBe(43)
    expect(snapshots[0]).toMatchObject({
      id: text('1'),
      name: text('ab'),
      vmStateSize: 1234n,
      icount: undefined,
    })
    expect(snapshots[0]!.diskSize).toBeUndefined()
    const upgraded = parseSnapshotTable(serializeSnapshotTable(snapshots, 5 * MIB), 1)
    expect(upgraded.snapshots[0]).toMatchObject({
      diskSize: BigInt(5 * MIB),
      vmStateSize: 1234n,
      extraDataSize: 24,
    })
  })

  it('ends before too much extra data, which can be clipped', () => {
    const entry = snapshot({ unknownExtraData: new Uint8Array(1001).fill(7) })
    const large = serializeSnapshotTable([snapshot({ id: text('2') }), entry], 0)
    const { snapshots, length, stop } = parseSnapshotTable(large, 2)
    expect({ ids: snapshots.map(({ id }) => decodeName(id)), stop }).toEqual({
      ids: ['2'],
      stop: 'extra data',
    })
    const head = large.subarray(alignUp(length, 8))
    expect(snapshotSizes(head)).toEqual({ extraData: 1025, names: 1 + 'before the upgrade'.length })
    const clipped = clipSnapshot(head.subarray(0, MAX_SNAPSHOT_HEAD), head.subarray(40 + 1025))
    expect(clipped).toMatchObject({ extraDataSize: 1024, id: text('1'), name: text('before the upgrade') })
    expect(clipped.unknownExtraData).toEqual(new Uint8Array(1000).fill(7))
  })

  it('ends where the table would exceed 64 MiB', () => {
    const entry = serializeSnapshotTable([snapshot({ name: text('n'.repeat(65535)) })], 0)
    const room = 64 * MIB - entry.length
    expect(parseSnapshotTable(entry, 1, room)).toMatchObject({ length: entry.length, stop: 'count' })
    expect(parseSnapshotTable(entry, 1, room + 1)).toMatchObject({ snapshots: [], stop: 'limit' })
    const count = Math.floor((64 * MIB) / entry.length) + 1
    expect(() =>
      serializeSnapshotTable(new Array(count).fill(snapshot({ name: text('n'.repeat(65535)) })), 0),
    ).toThrow(expect.objectContaining({ code: 'EFBIG' }))
  })
})

describe('the bitmap directory', () => {
  const context = { clusterSize: 65536, size: 64 * MIB, nbBitmaps: 2 }
  const good: readonly BitmapEntry[] = [
    { tableOffset: 65536, tableSize: 1, flags: 2, granularityBits: 16, name: 'first' },
    { tableOffset: 2 * 65536, tableSize: 1, flags: 1, granularityBits: 9, name: 'zw\u00f6lf' },
  ]
  const bytes = serializeBitmapDirectory(good)

  it('keeps everything through a round trip', () => {
    expect(parseBitmapDirectory(bytes, context)).toMatchObject(good)
  })

  it('is refused where the header extension disagrees, or it is cut', () => {
    const messageOf = (data: Uint8Array, nbBitmaps = 2): string => {
      try {
        parseBitmapDirectory(data, { ...context, nbBitmaps })
      } catch (error) {
        return (error as Error).message
      }
      return 'accepted'
    }
    expect(messageOf(bytes, 1)).toBe('More bitmaps found than specified in header extension')
    expect(messageOf(bytes, 3)).toBe('Less bitmaps found than specified in header extension')
    expect(messageOf(new Uint8Array(0))).toBe('Requested bitmap directory size is zero')
    expect(messageOf(bytes.subarray(0, bytes.length - 8))).toBe('Broken bitmap directory')
    expect(messageOf(bytes.subarray(0, 20))).toBe('Broken bitmap directory')
    const extra = bytes.slice()
    extra[23] = 1
    expect(messageOf(extra)).toBe('Bitmap extra data is not supported')
  })

  it.each<Partial<BitmapEntry>>([
    { tableOffset: 0 },
    { tableOffset: 512 },
    { tableSize: 0 },
    { tableSize: 0x800_0001 },
    { tableSize: 8193 },
    { granularityBits: 8 },
    { granularityBits: 32 },
    { flags: 4 },
    { flags: 0, granularityBits: 9, tableSize: 1, tableOffset: 65536, name: 'too small for the disk' },
  ])('is refused with an entry like %o', (changes) => {
    const entry = { ...good[0]!, ...changes }
    expect(() =>
      parseBitmapDirectory(serializeBitmapDirectory([entry]), { ...context, size: 2 ** 40, nbBitmaps: 1 }),
    ).toThrow(`Bitmap '${entry.name}' doesn't satisfy the constraints`)
  })

  it('has tables whose entries are data, zeroes or ones', () => {
    expect(bitmapCluster(0, 0, 65536)).toEqual({ kind: 'zeroes' })
    expect(bitmapCluster(0, 1, 65536)).toEqual({ kind: 'ones' })
    expect(bitmapCluster(1, 65536, 65536)).toEqual({ kind: 'data', hostOffset: 2 ** 32 + 65536 })
    for (const [hi, lo] of [
      [0, 2],
      [0x100_0000, 0],
      [0, 65537],
      [0, 512],
    ] as const)
      expect(bitmapCluster(hi, lo, 65536)).toBeUndefined()
  })
})

const bench = openBench()
afterAll(() => bench.remove())

describe.skipIf(!haveQemu)('tables of qemu-img', () => {
  it('hold its snapshots and bitmaps', async () => {
    bench.run('qemu-img', 'create', '-q', '-f', 'qcow2', 'image.qcow2', '64M')
    for (const name of ['one', 'zw\u00f6lf', 'three'])
      bench.run('qemu-img', 'snapshot', '-c', name, 'image.qcow2')
    bench.run('qemu-img', 'bitmap', '--add', '-g', '4096', 'image.qcow2', 'map')
    bench.run('qemu-img', 'bitmap', '--add', '--disable', 'image.qcow2', 'second map')
    const image = bench.read('image.qcow2')
    const header = await headerIn(image)
    const { snapshots, length } = parseSnapshotTable(
      image.subarray(header.snapshotsOffset),
      header.nbSnapshots,
    )
    expect(snapshots.map(({ id, name, diskSize }) => [decodeName(id), decodeName(name), diskSize])).toEqual([
      ['1', 'one', BigInt(64 * MIB)],
      ['2', 'zw\u00f6lf', BigInt(64 * MIB)],
      ['3', 'three', BigInt(64 * MIB)],
    ])
    const table = image.slice(header.snapshotsOffset, header.snapshotsOffset + length)
    expect(serializeSnapshotTable(snapshots, 0)).toEqual(table)

    const { nbBitmaps, directoryOffset, directorySize } = header.extensions.bitmaps!
    const directory = image.slice(directoryOffset, directoryOffset + directorySize)
    const entries = parseBitmapDirectory(directory, { clusterSize: 65536, size: header.size, nbBitmaps })
    expect(entries.map(({ name, flags, granularityBits }) => [name, flags, granularityBits])).toEqual([
      ['map', 2, 12],
      ['second map', 0, 16],
    ])
    expect(serializeBitmapDirectory(entries)).toEqual(directory)
  })
})
