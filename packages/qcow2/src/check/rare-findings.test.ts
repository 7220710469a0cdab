/**
 * Findings of snapshots, bitmaps and data files, and of what cannot be read, as facts.
 * Messages, counts and order are compared with QEMU's in tests/interop/check.test.ts.
 */
import { openNode } from '@vmblock/block-core'
import { describe, expect, it } from 'vitest'
import { serializeBitmapDirectory } from '../format/bitmap-layout.ts'
import { encodeName } from '../format/encode-name.ts'
import { HEADER_FIELD } from '../format/header.ts'
import { bitmapsLayout } from '../format/rare-extensions.ts'
import { snapshotHeader } from '../format/snapshot-layout.ts'
import {
  CLUSTER,
  checkOf,
  DANGER,
  FAILURE,
  FLAW,
  LEAK,
  Patient,
  UNREADABLE,
} from '../testing/damaged-image.ts'
import { bytesAt, emptyDisk, environment, filled, open, poke } from '../testing/images.ts'

const hex = (value: bigint | number): string => value.toString(16)

describe('a finding', () => {
  it('compressed-with-data-file and snapshots-with-data-file', async () => {
    const dataFile = await emptyDisk()
    const image = await Patient.make({ data_file: 'data' }, dataFile)
    const table = await image.addSnapshots({})
    await image.set(image.l2 + 8, (2n ** 62n) | 1024n)
    expect((await checkOf(image.file, undefined, dataFile)).told).toEqual([
      {
        what: 'compressed-with-data-file',
        ...DANGER,
        offset: image.l2 + 8,
        bytes: 8,
        owner: { structure: 'l2-table', offset: image.l2, index: 1, guestOffset: CLUSTER },
        message: 'ERROR compressed cluster 1 with data file, entry=0x4000000000000400',
      },
      {
        what: 'snapshots-with-data-file',
        ...DANGER,
        owner: { structure: 'snapshot-table', offset: table },
        message: 'ERROR 1 snapshots in image with data file',
      },
    ])
  })

  it('unaligned-table and oversized-table of snapshots', async () => {
    const image = await Patient.make()
    const l1Size = 2 ** 23
    const table = await image.addSnapshots(
      { l1TableOffset: 512n, l1Size: 1 },
      { l1TableOffset: 1024n, l1Size, id: encodeName('2'), name: encodeName('after') },
    )
    expect((await checkOf(image.file)).told).toEqual([
      {
        what: 'unaligned-table',
        ...DANGER,
        offset: 512,
        bytes: 8,
        owner: {
          structure: 'snapshot-table',
          offset: table,
          index: 0,
          snapshot: { id: '1', name: 'before' },
        },
        message:
          'ERROR snapshot 1 (before) l1_offset=0x200: L1 table is not cluster aligned; snapshot table entry corrupted',
      },
      {
        what: 'oversized-table',
        ...DANGER,
        offset: 1024,
        bytes: l1Size * 8,
        owner: { structure: 'snapshot-table', offset: table, index: 1, snapshot: { id: '2', name: 'after' } },
        message: `ERROR snapshot 2 (after) l1_size=0x${hex(l1Size)}: L1 table is too large; snapshot table entry corrupted`,
      },
    ])
  })

  it('unaligned-table of one snapshot, which a repair drops, and keeps the others', async () => {
    const image = await Patient.make()
    await image.addSnapshots(
      { l1TableOffset: 512n, l1Size: 1 },
      { id: encodeName('2'), name: encodeName('good') },
    )
    const { kept } = await checkOf(image.file, 'all')
    expect(kept.filter(({ what }) => what !== 'leaked-cluster')).toMatchObject([
      {
        what: 'unaligned-table',
        repaired: true,
        message: 'Discarding snapshot 1 (before) l1_offset=0x200: L1 table is not cluster aligned',
      },
    ])
    expect((await checkOf(image.file)).told).toEqual([])
    const node = await open(image.file)
    expect((await node.listSnapshots()).map(({ name }) => name)).toEqual(['good'])
    await node.close()
  })

  it('of the tables of a snapshot names the snapshot', async () => {
    const image = await Patient.make()
    const table = await image.addSnapshots({})
    const l1 = image.end
    const far = 2 ** 40
    await image.set(l1, far)
    await image.count(l1)
    await image.set(table, l1)
    await poke(image.file, table + 8, [0, 0, 0, 1])
    expect((await checkOf(image.file)).told[0]).toMatchObject({
      what: 'reference-outside-file',
      owner: {
        structure: 'l1-table',
        offset: l1,
        index: 0,
        snapshot: { id: '1', name: 'before' },
        guestOffset: 0,
      },
    })
  })

  it('incomplete-snapshot', async () => {
    const image = await Patient.make()
    const table = await image.addSnapshots({})
    const head = await bytesAt(image.file, table, snapshotHeader.size)
    snapshotHeader.write(head, { ...snapshotHeader.read(head), extraDataSize: 0 })
    await image.file.write(table, head)
    const finding = {
      what: 'incomplete-snapshot',
      ...FLAW,
      owner: { structure: 'snapshot-table', offset: table, index: 0 },
    }
    expect((await checkOf(image.file)).told).toEqual([
      { ...finding, message: 'ERROR snapshot table entry 0 is incomplete' },
    ])
    expect((await checkOf(image.file, 'all')).kept).toEqual([
      { ...finding, repaired: true, message: 'Repairing snapshot table entry 0 is incomplete' },
    ])
  })

  it('excess-snapshots and excess-snapshot-data, which the repair cuts off; without it, unreadable-table', async () => {
    const image = await Patient.make()
    const table = await image.addSnapshots({ extraDataSize: 1108, unknownExtraData: filled(1, 1084) })
    await poke(image.file, HEADER_FIELD.nbSnapshots, [0, 1, 0, 2])
    await image.count(table + CLUSTER)
    const { told, failure } = await checkOf(image.file)
    expect(told).toEqual([
      {
        what: 'unreadable-table',
        ...UNREADABLE,
        offset: table,
        owner: { structure: 'header', offset: 0 },
        message:
          'ERROR snapshot table too large\n' +
          'You can force-remove all 2 overhanging snapshots with qemu-img check -r all',
      },
    ])
    expect(failure).toMatchObject({ code: 'EFBIG' })
    const { told: cut } = await checkOf(image.file, 'all')
    const owner = (index: number) => ({ structure: 'snapshot-table', offset: table, index })
    expect(cut.slice(0, 2)).toEqual([
      {
        what: 'excess-snapshots',
        ...DANGER,
        repaired: true,
        owner: owner(65536),
        message: 'Discarding 2 overhanging snapshots',
      },
      {
        what: 'excess-snapshot-data',
        ...FLAW,
        repaired: true,
        owner: owner(0),
        message: 'Discarding too much extra metadata in snapshot table entry 0 (1108 > 1024)',
      },
    ])
    expect((await checkOf(image.file)).told).toEqual([])
  })

  /** Gives an image one bitmap, with an entry of its table that breaks the rules. */
  async function addBitmap(image: Patient): Promise<{ readonly table: number; readonly directory: number }> {
    const bitmap = { flags: 0, granularityBits: 9, name: 'dirty', tableSize: 1 }
    const [table, directory] = [image.end, image.end + CLUSTER]
    const entries = serializeBitmapDirectory([{ ...bitmap, tableOffset: table }])
    await image.set(table, 2)
    await image.file.write(directory, entries)
    await image.count(table)
    await image.count(directory)
    const extension = new Uint8Array(8 + 24 + 8)
    new DataView(extension.buffer).setUint32(0, 0x2385_2875)
    extension[7] = 24
    bitmapsLayout.write(extension.subarray(8), {
      nbBitmaps: 1,
      reserved: 0,
      directorySize: entries.length,
      directoryOffset: directory,
    })
    await image.file.write(image.view.getUint32(100), extension)
    await image.set(88, 1)
    return { table, directory }
  }

  it('wrong-bitmap-entry, of which QEMU prints nothing', async () => {
    const image = await Patient.make()
    const { table } = await addBitmap(image)
    expect((await checkOf(image.file)).told).toEqual([
      {
        what: 'wrong-bitmap-entry',
        ...FLAW,
        offset: table,
        bytes: 8,
        owner: { structure: 'bitmap-table', offset: table, index: 0 },
        message: "ERROR entry 0 of the table of bitmap 'dirty' is invalid",
        silent: true,
      },
    ])
  })

  it('wrong-bitmap-directory, which a complete repair drops', async () => {
    const image = await Patient.make()
    const { directory } = await addBitmap(image)
    await image.file.write(directory + 17, Uint8Array.of(60))
    const found = {
      what: 'wrong-bitmap-directory',
      ...FLAW,
      offset: directory,
      bytes: 32,
      owner: { structure: 'header', offset: 0 },
      message: "ERROR: Bitmap 'dirty' doesn't satisfy the constraints",
    }
    expect((await checkOf(image.file)).told[0]).toEqual(found)
    const { failure } = await checkOf(image.file, 'leaks')
    expect(String(failure)).toContain('the bitmap directory has to be repaired')
    const repaired = await checkOf(image.file, 'all')
    expect(repaired.told[0]).toMatchObject({
      what: 'wrong-bitmap-directory',
      repaired: true,
      message: "Dropping bitmaps: Bitmap 'dirty' doesn't satisfy the constraints",
    })
    expect((await checkOf(image.file)).told).toEqual([])
  })

  it('unreadable-table of an L2 table', async () => {
    const image = await Patient.make()
    const broken = await openNode(environment, {
      driver: 'blkdebug',
      image: image.file,
      injectError: [{ event: 'none', iotype: 'read', errno: 5, sector: image.l2 / 512 }],
    })
    const { told, failure } = await checkOf(broken)
    expect(told).toEqual([
      {
        what: 'unreadable-table',
        ...UNREADABLE,
        offset: image.l2,
        bytes: CLUSTER,
        owner: { structure: 'l1-table', offset: image.l1, index: 0, guestOffset: 0 },
        message: 'ERROR: I/O error in check_refcounts_l2',
      },
    ])
    expect(failure).toMatchObject({ code: 'EIO' })
  })

  it('unreadable-refcount of each cluster of a block', async () => {
    const image = await Patient.make()
    const broken = await openNode(environment, {
      driver: 'blkdebug',
      image: image.file,
      injectError: [{ event: 'none', iotype: 'read', errno: 5, sector: image.refblock / 512 }],
    })
    const { told } = await checkOf(broken)
    const clusters = image.end / CLUSTER
    expect(told).toEqual(
      Array.from({ length: clusters }, (_, index) => ({
        what: 'unreadable-refcount',
        ...FAILURE,
        offset: index * CLUSTER,
        bytes: CLUSTER,
        owner: { structure: 'refcount-block', offset: image.refblock, index },
        message: `Can't get refcount for cluster ${index}: Input/output error`,
      })),
    )
  })

  it('of a refcount is taken back if its repair fails', async () => {
    const image = await Patient.make()
    await image.set(image.l2 + 8, 0)
    const text = `cluster ${image.data / CLUSTER} refcount=1 reference=0`
    const broken = await openNode(environment, {
      driver: 'blkdebug',
      image: image.file,
      injectError: [{ event: 'refblock_load', iotype: 'read', errno: 5, once: true }],
    })
    const leak = { what: 'leaked-cluster', ...LEAK, offset: image.data, bytes: CLUSTER }
    expect(await checkOf(broken, 'leaks')).toEqual({
      told: [
        { ...leak, message: `Leaked ${text}` },
        { ...leak, repaired: true, message: `Repairing ${text}` },
        { ...leak, message: `Leaked ${text}`, silent: true },
      ],
      kept: [{ ...leak, message: `Leaked ${text}`, silent: true }],
    })
  })

  it('no check-given-up where empty tables are read many at a time', async () => {
    const image = await Patient.make()
    const entries = 20_000
    const [l1, tables] = [image.end, image.end + entries * CLUSTER]
    const words = new DataView(new ArrayBuffer(entries * 8))
    for (let i = 0; i < entries; i++) words.setBigUint64(i * 8, BigInt(tables + i * CLUSTER))
    await image.file.write(l1, new Uint8Array(words.buffer))
    await image.file.truncate(tables + entries * CLUSTER)
    await image.set(HEADER_FIELD.l1TableOffset, l1)
    await poke(image.file, HEADER_FIELD.l1TableOffset - 4, [0, 0, entries >> 8, entries & 255])
    const { told, failure } = await checkOf(image.file)
    expect([told.length > entries, failure]).toEqual([true, undefined])
  })

  it('check-given-up of an image that would keep a check busy', async () => {
    const image = await Patient.make()
    const entries = 20_000
    const [table, l1] = [image.end, image.end + CLUSTER]
    const words = new DataView(new ArrayBuffer(entries * 8))
    for (let i = 0; i < entries; i++) words.setBigUint64(i * 8, BigInt(table))
    await image.file.write(l1, new Uint8Array(words.buffer))
    await image.set(HEADER_FIELD.l1TableOffset, l1)
    await poke(image.file, HEADER_FIELD.l1TableOffset - 4, [0, 0, entries >> 8, entries & 255])
    const { told, failure } = await checkOf(image.file)
    expect(told).toEqual([
      {
        what: 'check-given-up',
        ...FAILURE,
        message: 'ERROR: too many tables are empty, or in one place, for a check to go on',
      },
    ])
    expect(failure).toMatchObject({ code: 'EIO' })
  })
})
