/** Headers and descriptors that make no sense: each is refused with one error that says what is wrong. */
import { BlockError, type BlockNode } from '@vmblock/block-core'
import { viewOf } from '@vmblock/block-core/driver'
import { describe, expect, it } from 'vitest'
import { Files } from './testing/images.ts'

type Change = (view: DataView) => void
const u64 =
  (at: number, value: bigint): Change =>
  (view) =>
    view.setBigUint64(at, value, true)
const u32 =
  (at: number, value: number): Change =>
  (view) =>
    view.setUint32(at, value, true)

async function refusal(open: Promise<BlockNode>): Promise<string> {
  const error = await open.then(
    () => undefined,
    (error: unknown) => error,
  )
  expect(error).toBeInstanceOf(BlockError)
  return (error as BlockError).message
}

/** The first sector of a new image, changed. */
async function changed(change: Change, options = {}): Promise<string> {
  const files = new Files()
  const file = await files.image('a', options)
  const head = new Uint8Array(512)
  await file.read(0, head)
  change(viewOf(head))
  await file.write(0, head)
  return refusal(files.open(file))
}

describe('a sparse header with', () => {
  it.each<[string, Change, string]>([
    ['another magic', u32(0, 1), 'invalid VMDK image descriptor'],
    ['version 4', u32(4, 4), 'Unsupported VMDK version 4'],
    ['version 3 that is not compressed', u32(4, 3), 'VMDK version 3 must be read only'],
    ['a capacity of 2^64-1', u64(12, 2n ** 64n - 1n), 'L1 size too big'],
    ['a capacity beyond all tables', u64(12, 2n ** 42n), 'L1 size too big'],
    ['a capacity beyond the directory', u64(12, 2n ** 30n), 'it is not inside the file'],
    ['grains of nothing', u64(20, 0n), 'L1 entry size is invalid'],
    ['grains that are too large', u64(20, 0x200001n), 'Invalid granularity, image may be corrupt'],
    ['grains of 2^63', u64(20, 2n ** 63n), 'Invalid granularity, image may be corrupt'],
    ['tables of nothing', u32(44, 0), 'L1 entry size is invalid'],
    ['tables that are too large', u32(44, 513), 'L2 table size too big'],
    ['a directory out of reach', u64(56, 2n ** 60n), 'The grain directory is at sector 1152921504606846976'],
    ['a directory outside the file', u64(56, 5000n), 'Could not read l1 table'],
    ['a second directory outside the file', u64(48, 5000n), 'Could not read l1 backup table'],
    ['no footer', u64(56, 2n ** 64n - 1n), 'Invalid footer'],
    ['grains behind its end', u64(64, 129n), 'File truncated, expecting at least 66048 bytes'],
    ['a descriptor out of reach', u64(28, 2n ** 62n), 'The descriptor is at sector'],
    ['no capacity, but a descriptor', u64(12, 0n), "Unsupported image type 'monolithicSparse'"],
  ])('%s is refused', async (_, change, message) => {
    expect(await changed(change)).toContain(message)
  })
})

describe('a descriptor', () => {
  const HEAD = '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n'
  it.each([
    ['ab', 'File is too small, not a valid image'],
    [HEAD, 'invalid VMDK image descriptor'],
    [`${HEAD}createType="fullDevice"\nRW 8 FLAT "x" 0\n`, "Unsupported image type 'fullDevice'"],
    [`${HEAD}createType="vmfs"\n`, 'The descriptor names no extents'],
    [`${HEAD}createType="vmfs"\nRW 0 VMFS "x"\n`, 'The descriptor names no extents'],
    [`${HEAD}createType="vmfs"\nNOACCESS 8 VMFS "x"\n`, 'must not be accessed'],
    [`${HEAD}createType="vmfs"\nRW 8 VMFSRDM "x"\n`, "Unsupported extent type 'VMFSRDM'"],
    [`${HEAD}createType="vmfs"\nRW 8 FLAT "x"\n`, 'Invalid extent line: RW 8 FLAT "x"'],
    [`${HEAD}createType="vmfs"\nRW 8 SPARSE "x"\n`, 'Image not in VMDK format'],
    [`${HEAD}createType="vmfs"\nRDONLY 8 VMFS "x"\n`, 'The image is read-only'],
  ])('%j is refused', async (text, message) => {
    const files = new Files()
    await files.add('x', new Uint8Array(4096))
    const file = await files.add('d', text)
    expect(await refusal(files.open(file))).toContain(message)
  })

  it('whose extents its host refuses is refused', async () => {
    const files = new Files()
    const file = await files.add('d', `${HEAD}createType="vmfs"\nRW 8 VMFS "../secret"\n`)
    expect(await refusal(files.open(file))).toContain("there is no '../secret'")
  })
})
