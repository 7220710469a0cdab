/** Images that QEMU damages or misreads, and what is done with them here. */
import { formatImage } from '@vmblock/block-core'
import { SECTOR, viewOf } from '@vmblock/block-core/driver'
import { toBytes } from '@vmblock/block-core/testing'
import { describe, expect, it } from 'vitest'
import { vmdk } from './driver.ts'
import { grainOf } from './format/se-sparse.ts'
import { lazyVmdk } from './testing/crash.ts'
import { bytesAt, entryOffset, Files, filled, GRAIN, setWord, wordAt } from './testing/images.ts'

const HEAD = '# Disk DescriptorFile\nversion=1\nCID=1\nparentCID=ffffffff\n'

describe('a sparse image', () => {
  it('without tables gets them, twice, and keeps its header', async () => {
    const files = new Files()
    const file = await files.add('a')
    await formatImage(lazyVmdk, file, { size: '64M' }, undefined, { filename: 'a' })
    const before = await bytesAt(file, 0, SECTOR)
    const disk = await files.open(file)
    await disk.write(33 * 2 ** 20, filled(7, 4096))
    await disk.close()
    expect(await bytesAt(file, 0, SECTOR)).toEqual(before)
    const again = await files.open(file)
    expect(await bytesAt(again, 33 * 2 ** 20, 4096)).toEqual(filled(7, 4096))
    expect(await again.check()).toMatchObject({
      corruptions: 0,
      leaks: 0,
      checkErrors: 0,
      allocatedClusters: 1,
    })
    const directories = [(await wordAt(file, 48)) * SECTOR, (await wordAt(file, 56)) * SECTOR]
    const tables = await Promise.all(directories.map((at) => wordAt(file, at + 4)))
    expect(tables.every((sector) => sector > 0)).toBe(true)
    expect(await wordAt(file, directories[0]!)).toBe(0)
    const [one, two] = await Promise.all(tables.map((sector) => bytesAt(file, sector * SECTOR, 2048)))
    expect(one).toEqual(two)
  })

  it('writes both tables, grains in the order of the disk as QEMU does, and each once', async () => {
    const files = new Files()
    const file = await files.image('a', { size: '5M' })
    const disk = await files.open(file)
    await disk.write(2 ** 20, filled(1, 4096))
    await disk.flush()
    expect(file.size).toBe(131072)
    expect(await wordAt(file, await entryOffset(file, 16))).toBe(128)
    expect(await wordAt(file, await entryOffset(file, 16, true))).toBe(128)
    expect(await disk.blockStatus(2 ** 20, 2 ** 20)).toMatchObject({ bytes: GRAIN, host: { offset: 65536 } })
    await disk.write(2 ** 20 + 5, filled(2, 3))
    await disk.write(3 * 2 ** 20, filled(3, 2 ** 20))
    await disk.flush()
    expect(file.size).toBe(131072 + 2 ** 20)
    expect(await bytesAt(disk, 2 ** 20, 10)).toEqual(Uint8Array.of(1, 1, 1, 1, 1, 2, 2, 2, 1, 1))
  })

  it('with an entry behind the end of the file does not give its grain to another', async () => {
    const files = new Files()
    const file = await files.image('a')
    await setWord(file, await entryOffset(file, 0), 128)
    const disk = await files.open(file)
    await disk.write(GRAIN, filled(5, GRAIN))
    await disk.flush()
    expect(await wordAt(file, await entryOffset(file, 1))).toBe(256)
    expect(await bytesAt(disk, 0, GRAIN)).toEqual(new Uint8Array(GRAIN))
  })

  it('with a table outside the file fails, and shows no zeroes', async () => {
    const files = new Files()
    const file = await files.image('a')
    await setWord(file, (await wordAt(file, 56)) * SECTOR, 99999)
    const disk = await files.open(file)
    await expect(bytesAt(disk, 0, 512)).rejects.toThrow('Grain table 0 at 51199488 is outside the file')
    await expect(disk.write(0, filled(1, 512))).rejects.toMatchObject({ code: 'EIO' })
    await disk.crash()
  })

  it('with an entry in its header is not written there', async () => {
    const files = new Files()
    const file = await files.image('a')
    await setWord(file, await entryOffset(file, 0), 1)
    const disk = await files.open(file)
    await expect(disk.write(0, filled(1, 512))).rejects.toThrow('would lie in the header')
    await disk.crash()
  })

  it('gets a new content id before its first write, durably, and no other', async () => {
    const files = new Files()
    await files.image('a')
    const file = await (async () => {
      const { host } = files.environment
      return host.resolve({ filename: 'a' })
    })()
    const disk = await files.open(file as never)
    const cid = async () => (await disk.info()).formatSpecific!.data['cid']
    const before = await cid()
    await disk.write(0, filled(1, 512))
    const after = await cid()
    expect(after).not.toBe(before)
    const [first, second] = files.log.entries
    expect(first).toMatchObject({ offset: 512 })
    expect(second).toMatchObject({ kind: 'flush' })
    await disk.write(4096, filled(1, 512))
    await disk.flush()
    expect(await cid()).toBe(after)
    await disk.close()
  })
})

describe('a parent', () => {
  it('that was changed is not shown, and what the child holds is', async () => {
    const files = new Files()
    const base = await files.image('base')
    const top = await files.add('top')
    const parent = await files.open(base)
    await parent.write(0, filled(4, 2 * GRAIN))
    await parent.close()
    const backing = await files.open(base, { readOnly: true })
    await formatImage(vmdk, top, { size: '4M', backingFile: 'base', backing } as never, undefined, {
      filename: 'top',
    })
    await backing.close()
    const child = await files.open(top)
    expect(child.backing?.node.driver.name).toBe('vmdk')
    await child.write(512, filled(5, 512))
    expect(await bytesAt(child, 0, 1024)).toEqual(Uint8Array.of(...filled(4, 512), ...filled(5, 512)))
    await child.close()
    const again = await files.open(base)
    await again.write(2 ** 21, filled(6, 512))
    await again.close()
    const orphan = await files.open(top)
    expect((await bytesAt(orphan, 512, 1))[0]).toBe(5)
    await expect(bytesAt(orphan, GRAIN, 1)).rejects.toThrow('was changed since the image was made over it')
    await expect(orphan.write(GRAIN, filled(1, 1))).rejects.toMatchObject({ code: 'EINVAL' })
    expect(await orphan.info()).toMatchObject({ backingFilename: 'base', backingFormat: 'vmdk' })
    await orphan.crash()
  })
})

describe('a descriptor', () => {
  it('with extents of zeroes keeps those behind them in their place', async () => {
    const files = new Files()
    await files.add('x', filled(1, 64 * SECTOR))
    await files.add('y', filled(2, 65 * SECTOR))
    const text = `${HEAD}createType="monolithicFlat"\nRW 64 FLAT "x" 0\nRW 64 ZERO\nRW 64 FLAT "y" 1\n`
    const disk = await files.open(await files.add('d', text))
    expect(disk.size).toBe(98304)
    const content = await toBytes(disk)
    expect([content[32767], content[32768], content[65535], content[65536]]).toEqual([1, 0, 0, 2])
    await disk.write(60 * SECTOR, filled(3, 4 * SECTOR))
    await expect(disk.write(60 * SECTOR, filled(3, 8 * SECTOR))).rejects.toThrow('ZERO')
    await disk.writeZeroes(0, disk.size)
    expect(await toBytes(disk)).toEqual(new Uint8Array(disk.size))
    expect(await disk.info()).toMatchObject({
      formatSpecific: { data: { extents: [{ format: 'FLAT' }, { format: 'ZERO' }, {}] } },
    })
    await disk.close()
  })

  it('with an extent that is too short is found by a check', async () => {
    const files = new Files()
    await files.add('x', filled(1, 10 * SECTOR))
    const disk = await files.open(await files.add('d', `${HEAD}createType="vmfs"\nRW 64 VMFS "x"\n`))
    expect((await bytesAt(disk, 9 * SECTOR, 1024))[512]).toBe(0)
    expect(await disk.check()).toMatchObject({ corruptions: 1 })
    await disk.close()
  })
})

describe('a stream', () => {
  it('is written in any order, again, and in parts', async () => {
    const files = new Files()
    const file = await files.image('a', { subformat: 'streamOptimized', size: GRAIN * 3 + 512 })
    const disk = await files.open(file)
    const noise = Uint8Array.from({ length: GRAIN }, (_, i) => (i * i * 31) >>> 3)
    await disk.writeCompressed(GRAIN, noise)
    await disk.write(3 * GRAIN + 100, filled(4, 412))
    await disk.write(10, filled(5, 2 * GRAIN))
    await disk.flush()
    const size = file.size
    await disk.write(0, filled(6, 5))
    const want = await toBytes(disk)
    await disk.close()
    expect(file.size).toBeGreaterThan(size)
    const again = await files.open(file)
    expect(await toBytes(again)).toEqual(want)
    expect([want[0], want[10], want[2 * GRAIN + 10], want[3 * GRAIN + 100]]).toEqual([6, 5, 0, 4])
    expect(await again.check()).toMatchObject({ corruptions: 0, compressedClusters: 4 })
    expect(await again.blockStatus(0, GRAIN)).toMatchObject({ compressed: true, data: true })
    await again.writeZeroes(0, GRAIN)
    expect(await again.blockStatus(0, GRAIN)).toMatchObject({ zero: true, data: false })
    await again.close()
  })

  it('is read where something follows its footer, which QEMU refuses', async () => {
    const files = new Files()
    const file = await files.image('a', { subformat: 'streamOptimized' })
    const disk = await files.open(file)
    await disk.write(0, filled(9, GRAIN))
    await disk.close()
    await file.write(file.size, filled(1, 5 * SECTOR))
    const again = await files.open(file)
    expect(await bytesAt(again, 100, 5)).toEqual(filled(9, 5))
    await again.close()
  })

  it('with a broken grain fails, by its checksum, too', async () => {
    const files = new Files()
    const file = await files.image('a', { subformat: 'streamOptimized' })
    const disk = await files.open(file)
    await disk.write(0, filled(9, GRAIN))
    await disk.flush()
    const content = await toBytes(file)
    // The first marker behind the empty stream: guest sector 0, its length, a zlib header.
    const at = content.findIndex((byte, i) => byte === 0x48 && content[i + 1] === 0x89) - 12
    const bytes = await wordAt(file, at + 8)
    const last = at + 12 + bytes - 1
    await file.write(last, Uint8Array.of(content[last]! ^ 1))
    await disk.crash()
    const again = await files.open(file)
    await expect(bytesAt(again, 0, 5)).rejects.toThrow('Its checksum is wrong')
    await setWord(file, at + 8, 0)
    await expect(bytesAt(again, 0, 5)).rejects.toThrow('its length is 0 bytes')
    await setWord(file, at, 77)
    expect(await again.check()).toMatchObject({ corruptions: 1 })
    await again.crash()
  })
})

describe('a check', () => {
  it('finds what is shared, outside and different, and repairs what it can', async () => {
    const files = new Files()
    const file = await files.image('a')
    const disk = await files.open(file)
    await disk.write(0, filled(1, 4 * GRAIN))
    await disk.close()
    await setWord(file, await entryOffset(file, 1), 128)
    await setWord(file, await entryOffset(file, 2), 999_999)
    await setWord(file, await entryOffset(file, 3), 5)
    const broken = await files.open(file)
    const words: string[] = []
    const report = (finding: { readonly what: string }) => void words.push(finding.what)
    expect(await broken.check({ report })).toMatchObject({ corruptions: 3, leaks: 1 })
    expect(words.sort()).toEqual([
      'differing-copy',
      'reference-into-header',
      'reference-outside-file',
      'shared-cluster',
    ])
    expect(await broken.check({ repair: 'leaks' })).toMatchObject({ corruptions: 3, leaks: 0, leaksFixed: 1 })
    expect(await broken.check({ repair: 'all' })).toMatchObject({ corruptions: 1, corruptionsFixed: 2 })
    expect(await bytesAt(broken, 2 * GRAIN, 1)).toEqual(Uint8Array.of(0))
    expect(await broken.check({ repair: 'all' })).toMatchObject({
      corruptions: 1,
      corruptionsFixed: 0,
      leaks: 0,
    })
    await broken.close()
  })
})

describe('extents of ESX', () => {
  it('COWD are read, alone, and never written', async () => {
    const files = new Files()
    const head = new Uint8Array(64 * SECTOR)
    const view = viewOf(head)
    for (const [at, value] of [0x44574f43, 1, 3, 4096, 8, 4, 1, 40].entries())
      view.setUint32(at * 4, value, true)
    view.setUint32(4 * SECTOR, 5, true)
    view.setUint32(5 * SECTOR + 4, 40, true)
    head.fill(7, 40 * SECTOR, 48 * SECTOR)
    const file = await files.add('c', head)
    const disk = await files.open(file, { readOnly: true })
    expect(disk.size).toBe(4096 * SECTOR)
    expect(await bytesAt(disk, 4095, 3)).toEqual(Uint8Array.of(0, 7, 7))
    await disk.close()
    await expect(files.open(file)).rejects.toThrow('COWD extents can only be read')
    view.setUint32(16, 0, true)
    await file.write(0, head)
    await expect(files.open(file, { readOnly: true })).rejects.toThrow('L1 entry size is invalid')
  })

  it.each([
    [0n, 'unallocated'],
    [0x1000000000000000n, 'zero'],
    [0x2000000000000000n, 'zero'],
    [0x3000000000000000n, 0],
    [0x3001000000000000n, 1],
    [0x3fff000000000001n, 0x1fff],
    [0x3000000000000001n, 4096],
    [0x3000ffffffffffffn, 'broken'],
    [5n, 'broken'],
    [0x4000000000000000n, 'broken'],
  ])('the seSparse entry %s is %s', (entry, grain) => {
    const view = new DataView(new ArrayBuffer(8))
    view.setBigUint64(0, entry, true)
    expect(grainOf(view, 0)).toBe(grain)
  })
})
