/** New images: their options in QEMU's words, and their files. */
import { formatImage } from '@vmblock/block-core'
import { describe, expect, it } from 'vitest'
import { vmdk } from './driver.ts'
import { bytesAt, Files, filled } from './testing/images.ts'

describe('creation refuses', () => {
  it.each([
    [{ subformat: 'foo' }, 'invalid parameter value: foo'],
    [{ adapter_type: 'foo' }, 'invalid parameter value: foo'],
    [{ backing_fmt: 'raw' }, 'backing_file must be a vmdk image'],
    [{ compat6: true, hwversion: '7' }, 'compat6 cannot be enabled with hwversion set'],
    [{ subformat: 'monolithicFlat', backing_file: 'b' }, "Flat image can't have backing file"],
    [{ subformat: 'monolithicFlat', zeroed_grain: true }, "Flat image can't enable zeroed grain"],
    [{ toolsversion: 'a"b' }, "cannot hold the value of 'toolsversion'"],
    [{ size: '3T' }, 'A disk of 3298534883328 bytes is too large for the sub-format monolithicSparse'],
    [{ size: 2 ** 52 }, 'is too large'],
    [{ backing_file: 'b' }, "there is no 'b'"],
    [{ subformat: 'monolithicFlat' }, 'needs 1 further files, and 0 were given'],
  ])('%j: %s', async (options, message) => {
    const files = new Files()
    const file = await files.add('a')
    // biome-ignore lint/suspicious/noExplicitAny: wrong options, too
    const made = formatImage(vmdk, file, { size: '1M', ...options } as any)
    if (message.startsWith('there is no')) await expect(made).rejects.toThrow()
    else await expect(made).rejects.toThrow(message)
    expect(file.size).toBe(0)
  })
})

describe('creation makes', () => {
  it.each([
    ['monolithicFlat', ['a.b-flat.vmdk'], 'FLAT', 1],
    ['twoGbMaxExtentFlat', ['a.b-f001.vmdk', 'a.b-f002.vmdk'], 'FLAT', 3],
    ['twoGbMaxExtentSparse', ['a.b-s001.vmdk', 'a.b-s002.vmdk'], 'SPARSE', 3],
  ])('the extents of %s', async (subformat, names, type, gib) => {
    const files = new Files()
    const creation = await vmdk.creation!()
    const options = { size: gib * 2 ** 30 + 1, subformat } as never
    expect(
      creation.furtherFiles!(
        { compat6: false, zeroed_grain: false, hwversion: 'undefined', ...(options as object) } as never,
        'dir/a.b.vmdk',
      ),
    ).toEqual(names)
    const file = await files.add('a.b.vmdk')
    const further = await Promise.all(names.map((name) => files.add(name)))
    await formatImage(vmdk, file, options, undefined, { further, filename: 'dir/a.b.vmdk' })
    const disk = await files.open(file)
    expect(disk.size).toBe(gib * 2 ** 30 + 512)
    expect(await disk.info()).toMatchObject({
      formatSpecific: { data: { 'create-type': subformat, extents: names.map(() => ({ format: type })) } },
    })
    const border = gib === 1 ? 4096 : 2 ** 31
    await disk.write(border - 1000, filled(7, 2000))
    await disk.close()
    const again = await files.open(file)
    expect(await bytesAt(again, border - 1001, 2002)).toEqual(Uint8Array.of(0, ...filled(7, 2000), 0))
    expect(await again.check()).toMatchObject({ corruptions: 0, checkErrors: 0 })
    await again.close()
  })

  it('a name that is no name into a descriptor that can be read', async () => {
    const files = new Files()
    const file = await files.add('a')
    await formatImage(vmdk, file, { size: 512 }, undefined, { filename: 'json:{"driver":"memory"}' })
    const text = new TextDecoder().decode(await bytesAt(file, 512, 400))
    expect(text).toContain('RW 1 SPARSE "disk.vmdk"')
    await (await files.open(file)).close()
  })
})
