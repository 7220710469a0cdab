/** The raw driver on a file that records its calls. */
import { parseOptions } from '@vmblock/block-core/driver'
import { describe, expect, it } from 'vitest'
import { rawCreation } from './create.ts'
import { raw } from './raw.ts'
import { ByteFile, fileNode, openRaw } from './testing/byte-file.ts'
import { rawOptions } from './window.ts'

const read = async (
  node: { read(offset: number, into: Uint8Array): Promise<void> },
  offset: number,
  bytes: number,
) => {
  const into = new Uint8Array(bytes)
  await node.read(offset, into)
  return [...into]
}

describe('raw disk', () => {
  it('shows its whole file', async () => {
    const file = new ByteFile(4096)
    const { disk } = await openRaw(file)
    expect(disk.size).toBe(4096)
    expect(await read(disk, 250, 3)).toEqual([250, 0, 1])
  })

  it('rounds the size of a file up to whole sectors, and what is missing reads as zeroes', async () => {
    const file = new ByteFile(1000)
    const { disk } = await openRaw(file)
    expect(disk.size).toBe(1024)
    expect(await read(disk, 999, 3)).toEqual([999 % 251, 0, 0])
    await disk.write(1000, new Uint8Array(24).fill(7))
    expect(file.size()).toBe(1024)
    await expect(disk.write(1000, new Uint8Array(25))).rejects.toMatchObject({ code: 'EIO' })
  })

  it('rounds up over a child of fixed size, too, whose last sector cannot be written to its end', async () => {
    const file = new ByteFile(1000, false)
    const { disk } = await openRaw(file)
    expect(disk.size).toBe(1024)
    expect(await read(disk, 998, 4)).toEqual([998 % 251, 999 % 251, 0, 0])
    expect(await read(disk, 1020, 4)).toEqual([0, 0, 0, 0])
    await disk.write(990, new Uint8Array(10).fill(7))
    await expect(disk.write(990, new Uint8Array(34))).rejects.toMatchObject({ code: 'ENOSPC' })
    expect(await disk.blockStatus(1000, 24)).toMatchObject({ bytes: 24, data: false, zero: true })
  })

  it('passes writes, zero writes, discards and flushes on with their flags', async () => {
    const file = new ByteFile(8192)
    const { disk } = await openRaw(file, { options: { offset: 512 } })
    await disk.write(0, new Uint8Array(512), { fua: true })
    await disk.writeZeroes(512, 1024, { mayUnmap: true })
    await disk.writeZeroes(512, 1024, { noFallback: true })
    await disk.discard(1024, 2048)
    await disk.flush()
    expect(file.calls).toEqual([
      'write 512+512 fua',
      'zero 1024+1024 unmap',
      'zero 1024+1024 fast',
      'discard 1536+2048',
      'flush',
    ])
  })

  it('announces reads and writes to a debugger below, under the names QEMU gives them', async () => {
    const file = new ByteFile(4096)
    const { disk } = await openRaw(file)
    await disk.read(0, new Uint8Array(1))
    await disk.write(0, new Uint8Array(1))
    expect(file.events).toEqual(['read_aio', 'write_aio', 'pwritev', 'pwritev_done'])
  })

  it('reports the state of its file, at the offset in the file', async () => {
    const { disk, ops } = await openRaw(new ByteFile(4096), { options: { offset: 512 } })
    expect(await ops.blockStatus?.(0, 2048)).toMatchObject({
      bytes: 2048,
      forward: true,
      host: { offset: 512 },
    })
    expect(await disk.blockStatus(0, 2048)).toMatchObject({ bytes: 512, data: true, zero: false })
    expect(await disk.blockStatus(512, 2048)).toMatchObject({ bytes: 2048, data: false, zero: true })
  })

  it('gives facts of the file, but not those of its format', async () => {
    const { disk } = await openRaw(new ByteFile(4096))
    expect(await disk.info()).toEqual({ actualSize: 4096 })
  })

  it('is the last resort of probing', () => {
    expect(raw.probe?.(new Uint8Array(512).fill(0x51), 'x.qcow2')).toBe(1)
  })
})

describe('window', () => {
  it('shows `size` bytes from `offset`, which need not be aligned', async () => {
    const file = new ByteFile(4096)
    const { disk } = await openRaw(file, { options: { offset: 10, size: 2048 } })
    expect(disk.size).toBe(2048)
    await disk.write(2047, Uint8Array.of(0xff))
    expect([...file.bytes.subarray(2056, 2059)]).toEqual([2056 % 251, 0xff, 2058 % 251])
    for (const offset of [2047, 2048, 2560]) {
      await expect(disk.write(offset, new Uint8Array(2))).rejects.toMatchObject({ code: 'EIO' })
      await expect(disk.read(offset, new Uint8Array(2))).rejects.toMatchObject({ code: 'EIO' })
      await expect(disk.writeZeroes(offset, 2)).rejects.toMatchObject({ code: 'EIO' })
      await expect(disk.discard(offset, 2)).rejects.toMatchObject({ code: 'EIO' })
    }
  })

  it('reaches to the end of the file where no size is given', async () => {
    const { disk } = await openRaw(new ByteFile(1000), { options: { offset: 100 } })
    expect(disk.size).toBe(1024)
  })

  it.each([
    [{ offset: 5000 }, 'Offset (5000) cannot be greater than size of the containing file (4096)'],
    [
      { offset: 512, size: 4096 },
      'The sum of offset (512) and size (4096) has to be smaller or equal to the  actual size of the containing file (4096)',
    ],
    [{ size: 1000 }, 'Specified size is not multiple of 512'],
  ])('is refused when it does not fit: %o', async (options, message) => {
    await expect(openRaw(new ByteFile(4096), { options })).rejects.toMatchObject({ code: 'EINVAL', message })
  })

  it('shrinks with a file that shrinks behind its back', async () => {
    const file = new ByteFile(4096)
    const { disk } = await openRaw(file, { options: { offset: 1024, size: 2048 } })
    await file.truncate(2048)
    expect(disk.size).toBe(1024)
    await file.truncate(512)
    expect(disk.size).toBe(0)
  })

  it('moves with a resize when it is open-ended, and refuses one when its size is fixed', async () => {
    const file = new ByteFile(4096)
    const open = await openRaw(file, { options: { offset: 512 } })
    await open.disk.truncate(1024, { preallocation: 'falloc' })
    expect(file.calls).toEqual(['truncate 1536 falloc'])
    expect(open.disk.size).toBe(1024)
    await expect(open.disk.truncate(Number.MAX_SAFE_INTEGER)).rejects.toMatchObject({
      code: 'EINVAL',
      message: 'Disk size too large for the chosen offset',
    })
    const fixed = await openRaw(new ByteFile(4096), { options: { size: 512 } })
    await expect(fixed.disk.truncate(512)).rejects.toMatchObject({
      code: 'ENOTSUP',
      message: 'Cannot resize fixed-size raw disks',
    })
  })

  it('is changed by a reopen once it is committed', async () => {
    const { disk, ops } = await openRaw(new ByteFile(4096), { options: { offset: 512, size: 512 } })
    const options = parseOptions(rawOptions, { offset: 1536, size: 1024 })
    const aborted = await ops.prepareReopen?.({ readOnly: false, options })
    await aborted?.abort()
    expect(disk.size).toBe(512)
    const prepared = await ops.prepareReopen?.({ readOnly: false, options })
    expect(disk.size).toBe(512)
    await prepared?.commit()
    expect(disk.size).toBe(1024)
    expect(await read(disk, 0, 1)).toEqual([1536 % 251])
  })

  it('keeps its range when a reopen asks for one that does not fit', async () => {
    const { disk, ops } = await openRaw(new ByteFile(4096))
    const reopen = ops.prepareReopen?.({
      readOnly: false,
      options: parseOptions(rawOptions, { offset: 9999 }),
    })
    await expect(reopen).rejects.toMatchObject({
      message: 'Offset (9999) cannot be greater than size of the containing file (4096)',
    })
    expect(disk.size).toBe(4096)
  })
})

describe('probed image', () => {
  const startsLikeQcow2 = (head: Uint8Array): boolean => head[0] === 0x51
  const probedUnless = startsLikeQcow2

  it('never takes the header of another format, whole or in parts', async () => {
    const file = new ByteFile(4096)
    const { disk } = await openRaw(file, { probedUnless })
    await expect(disk.write(0, new Uint8Array(4096).fill(0x51))).rejects.toMatchObject({ code: 'EPERM' })
    await expect(disk.write(0, Uint8Array.of(0x51))).rejects.toMatchObject({ code: 'EPERM' })
    expect(file.bytes[0]).toBe(0)
    expect(file.calls).toEqual([])
  })

  it('takes everything else, there and elsewhere', async () => {
    const file = new ByteFile(4096)
    const { disk } = await openRaw(file, { probedUnless })
    await disk.write(1, Uint8Array.of(0x51))
    await disk.write(512, new Uint8Array(512).fill(0x51))
    expect([...file.bytes.subarray(0, 3)]).toEqual([0, 0x51, 2])
    expect(file.calls).toEqual(['write 0+512', 'write 512+512'])
  })

  it('writes what was checked, not what a guest makes of it meanwhile', async () => {
    const file = new ByteFile(4096)
    const { disk } = await openRaw(file, { probedUnless })
    const guestMemory = new Uint8Array(512).fill(1)
    const slow = file.write.bind(file)
    file.write = async (offset, from, flags) => {
      guestMemory.fill(0x51)
      await slow(offset, from, flags)
    }
    await disk.write(0, guestMemory)
    expect(file.bytes[0]).toBe(1)
  })

  it('warns in the words of QEMU, unless it is read-only', async () => {
    const { warnings } = await openRaw(new ByteFile(512), { probedUnless })
    expect(warnings[0]).toBe(
      "WARNING: Image format was not specified for 'disk.img' and probing guessed raw.",
    )
    expect(warnings).toHaveLength(3)
    expect((await openRaw(new ByteFile(512), { probedUnless, readOnly: true })).warnings).toEqual([])
    expect((await openRaw(new ByteFile(512))).warnings).toEqual([])
  })
})

describe('raw creation', () => {
  const create = async (given: Readonly<Record<string, unknown>>) => {
    const file = new ByteFile(0)
    await rawCreation.create({ file: fileNode(file), options: parseOptions(rawCreation.options, given) })
    return file.calls
  }

  it('makes whole sectors, allocated as asked', async () => {
    expect(await create({ size: 1000 })).toEqual(['truncate 1024 off'])
    expect(await create({ size: '1M', preallocation: 'full' })).toEqual(['truncate 1048576 full'])
  })

  it.each([
    [{}, 'EINVAL', 'Image creation needs a size parameter'],
    [{ size: 512, preallocation: 'metadata' }, 'ENOTSUP', 'Unsupported preallocation mode: metadata'],
    [{ size: 512, preallocation: 'foo' }, 'EINVAL', 'invalid parameter value: foo'],
    [{ size: 512, nocow: true }, 'EINVAL', "Invalid parameter 'nocow'"],
  ])('refuses %o', async (options, code, message) => {
    await expect(create(options)).rejects.toMatchObject({ code, message })
  })

  it('explains its options as qemu-img does', () => {
    const lines = Object.entries(rawCreation.options).map(
      ([key, { type, help }]) => `${key}=<${type}> ${help}`,
    )
    expect(lines).toEqual([
      'size=<size> Virtual disk size',
      'preallocation=<str> Preallocation mode (allowed values: off, falloc, full)',
    ])
  })
})
