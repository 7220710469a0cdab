/**
 * Findings of entries and refcounts as facts: what, where, whose, and whether it is repaired; each on an image with that
 * damage.
 * Messages, counts and order are compared with QEMU's in tests/interop/check.test.ts.
 */
import { openNode } from '@vmblock/block-core'
import { describe, expect, it } from 'vitest'
import { HEADER_FIELD } from '../format/header.ts'
import { CLUSTER, COPIED, checkOf, DANGER, FAILURE, FLAW, LEAK, Patient } from '../testing/damaged-image.ts'
import { environment, poke } from '../testing/images.ts'

const hex = (value: bigint | number): string => value.toString(16)

describe('a finding', () => {
  it('leaked-cluster, and again when it is repaired', async () => {
    const image = await Patient.make()
    await image.set(image.l2 + 8, 0)
    const cluster = image.data / CLUSTER
    const leak = { what: 'leaked-cluster', ...LEAK, offset: image.data, bytes: CLUSTER }
    const told = { ...leak, message: `Leaked cluster ${cluster} refcount=1 reference=0` }
    const repaired = {
      ...leak,
      repaired: true,
      message: `Repairing cluster ${cluster} refcount=1 reference=0`,
    }
    expect((await checkOf(image.file)).told).toEqual([told])
    const { told: both, kept } = await checkOf(image.file, 'leaks')
    expect(both).toEqual([told, repaired])
    expect(kept).toEqual([repaired])
  })

  it('refcount-too-low, and copied-flag-missing of an entry in place of its repair', async () => {
    const image = await Patient.make()
    await image.set(image.l2 + 8, image.word(image.l2))
    const first = image.word(image.l2)
    const low = { what: 'refcount-too-low', ...DANGER, offset: first, bytes: CLUSTER }
    const flag = {
      what: 'copied-flag-missing',
      ...FLAW,
      offset: first,
      bytes: CLUSTER,
      owner: { structure: 'l2-table', offset: image.l2, index: 1, guestOffset: CLUSTER },
    }
    const { told } = await checkOf(image.file)
    expect(told.filter(({ what }) => what !== 'leaked-cluster')).toEqual([
      { ...low, message: `ERROR cluster ${first / CLUSTER} refcount=1 reference=2` },
      { ...flag, message: `ERROR OFLAG_COPIED data cluster: l2_entry=${hex(first)} refcount=1` },
    ])
    const { kept } = await checkOf(image.file, 'all')
    expect(kept).toContainEqual({
      ...low,
      repaired: true,
      message: `Repairing cluster ${first / CLUSTER} refcount=1 reference=2`,
    })
    expect(kept.every(({ repaired }) => repaired)).toBe(true)
  })

  it('refcount-too-low and copied-flag-set, rebuild-needed and refcounts-rebuilt', async () => {
    const image = await Patient.make()
    await image.count(image.data, 0)
    const cluster = image.data / CLUSTER
    const low = { what: 'refcount-too-low', ...DANGER, offset: image.data, bytes: CLUSTER }
    const found = { ...low, message: `ERROR cluster ${cluster} refcount=0 reference=1` }
    expect((await checkOf(image.file)).told).toEqual([
      found,
      {
        what: 'copied-flag-set',
        ...DANGER,
        offset: image.data,
        bytes: CLUSTER,
        owner: { structure: 'l2-table', offset: image.l2, index: 1, guestOffset: CLUSTER },
        message: `ERROR OFLAG_COPIED data cluster: l2_entry=${hex(BigInt(image.data) | COPIED)} refcount=0`,
      },
    ])
    const { told, failure } = await checkOf(image.file, 'leaks')
    const needed = {
      what: 'rebuild-needed',
      ...FAILURE,
      message: 'ERROR need to rebuild refcount structures',
    }
    expect(told).toEqual([found, needed])
    expect(failure).toMatchObject({ code: 'EIO' })
    const { kept } = await checkOf(image.file, 'all')
    expect(kept.slice(0, 2)).toEqual([
      { ...found, repaired: true },
      { what: 'refcounts-rebuilt', ...FLAW, repaired: true, message: 'Rebuilding refcount structure' },
    ])
    // The old structure.
    expect(kept.slice(2).map(({ what, repaired }) => [what, repaired])).toEqual([
      ['leaked-cluster', true],
      ['leaked-cluster', true],
    ])
    expect((await checkOf(image.file)).told).toEqual([])
  })

  it('refcount-overflow, with QEMU’s advice in its message', async () => {
    const image = await Patient.make({ refcount_bits: 1 })
    const first = image.word(image.l2)
    await image.set(image.l2 + 8, BigInt(first) | COPIED)
    expect((await checkOf(image.file)).told[0]).toEqual({
      what: 'refcount-overflow',
      ...DANGER,
      offset: first,
      bytes: CLUSTER,
      owner: { structure: 'l2-table', offset: image.l2, index: 1, guestOffset: CLUSTER },
      message:
        `ERROR: overflow cluster offset=0x${hex(first)}\n` +
        'Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy if the image cannot be opened for writing',
    })
  })

  it('shared-cluster, unaligned-table and reserved-bits of refcount blocks', async () => {
    const image = await Patient.make()
    const table = image.refcountTable
    await image.set(table + 8, image.data)
    await image.set(table + 16, image.data + 512)
    await image.set(table + 24, image.data + 2)
    const owner = (index: number) => ({ structure: 'refcount-table', offset: table, index })
    const { told } = await checkOf(image.file)
    expect(told.slice(0, 3)).toEqual([
      {
        what: 'shared-cluster',
        ...DANGER,
        offset: image.data,
        bytes: CLUSTER,
        owner: owner(1),
        message: 'ERROR refcount block 1 refcount=2',
      },
      {
        what: 'unaligned-table',
        ...DANGER,
        offset: image.data + 512,
        bytes: CLUSTER,
        owner: owner(2),
        message: 'ERROR refcount block 2 is not cluster aligned; refcount table entry corrupted',
      },
      {
        what: 'reserved-bits',
        ...DANGER,
        offset: table + 24,
        bytes: 8,
        owner: owner(3),
        message: 'ERROR refcount table entry 3 has reserved bits set',
      },
    ])
  })

  it('reference-outside-file of guest data', async () => {
    const image = await Patient.make()
    const far = 2 ** 40
    await image.set(image.l2 + 8, BigInt(far) | COPIED)
    expect((await checkOf(image.file)).told[0]).toEqual({
      what: 'reference-outside-file',
      ...DANGER,
      offset: far,
      bytes: CLUSTER,
      owner: { structure: 'l2-table', offset: image.l2, index: 1, guestOffset: CLUSTER },
      message: `ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0x${hex(far)} size 0x400`,
    })
  })

  it('reference-outside-file of a refcount block, which a repair makes', async () => {
    const image = await Patient.make()
    // The last block that would still be in the first cluster of the table.
    const block = image.end
    await image.set(image.refcountTable + 8, block)
    const finding = {
      what: 'reference-outside-file',
      ...DANGER,
      offset: block,
      bytes: CLUSTER,
      owner: { structure: 'refcount-table', offset: image.refcountTable, index: 1 },
    }
    expect((await checkOf(image.file)).told[0]).toEqual({
      ...finding,
      message: 'ERROR refcount block 1 is outside image',
    })
    const { kept } = await checkOf(image.file, 'all')
    expect(kept[0]).toEqual({
      ...finding,
      repaired: true,
      message: 'Repairing refcount block 1 is outside image',
    })
  })

  it('unaligned-table and reserved-bits of an L1 entry', async () => {
    const image = await Patient.make()
    const offset = image.l2 + 512
    await image.set(image.l1 + 8, BigInt(offset + 2) | COPIED)
    const owner = { structure: 'l1-table', offset: image.l1, index: 1, guestOffset: (CLUSTER / 8) * CLUSTER }
    const { told } = await checkOf(image.file)
    expect(told.slice(0, 2)).toEqual([
      {
        what: 'reserved-bits',
        ...DANGER,
        offset: image.l1 + 8,
        bytes: 8,
        owner,
        message: `ERROR found L1 entry with reserved bits set: ${hex(BigInt(offset + 2) | COPIED)}`,
      },
      {
        what: 'unaligned-table',
        ...DANGER,
        offset,
        bytes: CLUSTER,
        owner,
        message: `ERROR l2_offset=${hex(offset)}: Table is not cluster aligned; L1 entry corrupted`,
      },
    ])
  })

  it('far back in a table counts from the beginning of the table, and of the disk', async () => {
    const image = await Patient.make()
    const [l2, l1, entries, index] = [image.end, image.end + CLUSTER, 10_000, 9000]
    await image.file.write(l1, new Uint8Array(entries * 8))
    await image.set(l1 + index * 8, BigInt(l2 + 2))
    await image.set(l2 + 3 * 8, 2)
    await image.set(HEADER_FIELD.l1TableOffset, l1)
    await poke(image.file, HEADER_FIELD.l1Size, [0, 0, entries >> 8, entries & 255])
    const guestOffset = index * (CLUSTER / 8) * CLUSTER
    const { told } = await checkOf(image.file)
    expect(told.filter(({ what }) => what === 'reserved-bits')).toMatchObject([
      { offset: l1 + index * 8, owner: { structure: 'l1-table', offset: l1, index, guestOffset } },
      {
        offset: l2 + 3 * 8,
        owner: { structure: 'l2-table', offset: l2, index: 3, guestOffset: guestOffset + 3 * CLUSTER },
      },
    ])
  })

  it('reserved-bits of an L2 entry', async () => {
    const image = await Patient.make()
    const entry = BigInt(image.data + 2) | COPIED
    await image.set(image.l2 + 8, entry)
    expect((await checkOf(image.file)).told).toEqual([
      {
        what: 'reserved-bits',
        ...DANGER,
        offset: image.l2 + 8,
        bytes: 8,
        owner: { structure: 'l2-table', offset: image.l2, index: 1, guestOffset: CLUSTER },
        message: `ERROR found l2 entry with reserved bits set: ${hex(entry)}`,
      },
    ])
  })

  it('unaligned-cluster', async () => {
    const image = await Patient.make()
    const offset = image.data - 512
    await image.set(image.l2 + 8, BigInt(offset) | COPIED)
    expect((await checkOf(image.file)).told[0]).toEqual({
      what: 'unaligned-cluster',
      ...DANGER,
      offset,
      bytes: CLUSTER,
      owner: { structure: 'l2-table', offset: image.l2, index: 1, guestOffset: CLUSTER },
      message: `ERROR offset=${hex(offset)}: Data cluster is not properly aligned; L2 entry corrupted.`,
    })
  })

  it('unaligned-preallocation, and repair-failed if its table cannot be written', async () => {
    const image = await Patient.make()
    const offset = image.data - 512
    // Entry 64 begins a sector, so that a write of it can be told from others.
    await image.set(image.l2 + 512, BigInt(offset + 1) | COPIED)
    const text = `offset=${hex(offset)}: Preallocated cluster is not properly aligned; L2 entry corrupted.`
    const finding = {
      what: 'unaligned-preallocation',
      ...FLAW,
      offset,
      bytes: CLUSTER,
      owner: { structure: 'l2-table', offset: image.l2, index: 64, guestOffset: 64 * CLUSTER },
    }
    expect((await checkOf(image.file)).told[0]).toEqual({ ...finding, message: `ERROR ${text}` })
    const full = await openNode(environment, {
      driver: 'blkdebug',
      image: image.file,
      injectError: [{ event: 'none', iotype: 'write', errno: 28, once: true, sector: image.l2 / 512 + 1 }],
    })
    const { told, kept } = await checkOf(full, 'all')
    expect(told.slice(0, 3)).toEqual([
      { ...finding, repaired: true, message: `Repairing ${text}` },
      {
        what: 'repair-failed',
        ...FAILURE,
        offset: image.l2 + 512,
        bytes: 8,
        owner: { structure: 'l2-table', offset: image.l2 },
        message: 'ERROR: Failed to overwrite L2 table entry: No space left on device',
      },
      { ...finding, silent: true, message: `ERROR ${text}` },
    ])
    expect(kept).toContainEqual({ ...finding, silent: true, message: `ERROR ${text}` })
    await full.close()
    const { kept: after } = await checkOf(image.file, 'all')
    expect(after[0]).toEqual({ ...finding, repaired: true, message: `Repairing ${text}` })
  })

  it('wrong-subclusters, of each kind of entry', async () => {
    const size = 16384
    const image = await Patient.make({ cluster_size: size, extended_l2: 'on' })
    const compressed = 2n ** 62n
    const start = BigInt(image.word(image.l2))
    await image.set(image.l2 + 2 * 16 + 8, 1n)
    await image.set(image.l2 + 3 * 16, start | compressed)
    await image.set(image.l2 + 3 * 16 + 8, 1n)
    await image.set(image.l2 + 8, (1n << 32n) | 1n)
    const { told } = await checkOf(image.file)
    const finding = (index: number, message: string) => ({
      what: 'wrong-subclusters',
      ...DANGER,
      offset: image.l2 + index * 16,
      bytes: 16,
      owner: { structure: 'l2-table', offset: image.l2, index, guestOffset: index * size },
      message,
    })
    expect(told).toEqual([
      finding(0, `ERROR offset=${hex(start)}: Allocated cluster has corrupted subcluster allocation bitmap`),
      finding(2, 'ERROR: Unallocated cluster has non-zero subcluster allocation map'),
      finding(
        3,
        `ERROR compressed cluster 3 with non-zero subcluster allocation bitmap, entry=0x${hex(start | compressed)}`,
      ),
    ])
  })

  it('copied-flag-set of a compressed cluster', async () => {
    const image = await Patient.make()
    const entry = BigInt(image.data) | (2n ** 62n)
    await image.set(image.l2 + 8, entry | COPIED)
    expect((await checkOf(image.file)).told).toEqual([
      {
        what: 'copied-flag-set',
        ...DANGER,
        offset: image.l2 + 8,
        bytes: 8,
        owner: { structure: 'l2-table', offset: image.l2, index: 1, guestOffset: CLUSTER },
        message: `ERROR: coffset=0x${hex(image.data)}: copied flag must never be set for compressed clusters`,
      },
    ])
  })
})
