/** Geometries, sizes, names: what the bytes of a VHD mean. */
import { SECTOR } from '@vmblock/block-core/driver'
import { describe, expect, it } from 'vitest'
import { checksumOf } from './format/checksum.ts'
import { diskSize, type Footer, newFooter, resizedFooter, uuidOf, uuidText, wordOf } from './format/footer.ts'
import { geometryOf, MAX_GEOMETRY, roundToGeometry, sectorsOf } from './format/geometry.ts'
import { decodeLocator, decodeName, encodeName } from './format/parent-names.ts'

const MIB = 2 ** 20
const GIB = 2 ** 30

describe('a geometry', () => {
  // Measured with qemu-img 7.2.
  it.each([
    [0, 0],
    [MIB, 1079296],
    [5 * MIB, 5257216],
    [10 * MIB, 10514432],
    [100 * MIB, 104865792],
    [511 * MIB, 536223744],
    [GIB, 1073995776],
    [10 * GIB, 10737893376],
    [127 * GIB, 136365219840],
    [128 * GIB, 128 * GIB],
    [2040 * GIB, 2040 * GIB],
  ])('rounds %d bytes to %d', (wanted, size) => {
    expect(roundToGeometry(wanted).size).toBe(size)
  })

  it.each([
    [100 * MIB, 1003, 12, 17],
    [511 * MIB, 1038, 16, 63],
    [64 * MIB, 963, 8, 17],
  ])('of %d bytes has %d cylinders, %d heads, %d sectors', (bytes, cylinders, heads, sectorsPerTrack) => {
    expect(geometryOf(bytes / SECTOR)).toEqual({ cylinders, heads, sectorsPerTrack })
  })

  it('never has more sectors than the disk, and never overflows', () => {
    for (let sectors = 1; sectors < 2 ** 32; sectors = Math.ceil(sectors * 1.37)) {
      const geometry = geometryOf(sectors)
      expect(sectorsOf(geometry)).toBeLessThanOrEqual(sectors)
      expect(geometry.heads).toBeLessThanOrEqual(16)
      expect(geometry.cylinders).toBeLessThanOrEqual(65535)
    }
    expect(geometryOf(2 ** 40)).toEqual(MAX_GEOMETRY)
  })
})

const footerOf = (creator: string, size: number, geometry = geometryOf(100 * 4 * 17)): Footer => ({
  ...newFooter({ type: 2, size, geometry, isExact: false, dataOffset: undefined }),
  creator: wordOf(creator),
})

describe('the size of a disk', () => {
  const byGeometry = 100 * 4 * 17 * SECTOR
  // QEMU cuts the disks of the programs that it does not know.
  it.each([
    ['vpc ', byGeometry],
    ['qemu', byGeometry],
    ['qem2', 5 * MIB],
    ['win ', 5 * MIB],
    ['d2v ', 5 * MIB],
    ['CTXS', 5 * MIB],
    ['tap\0', 5 * MIB],
    ['vbox', 5 * MIB],
    ['vs  ', 5 * MIB],
    ['wa\0\0', 5 * MIB],
    ['*img', 5 * MIB],
  ])('in an image of "%s" is %d', (creator, size) => {
    expect(diskSize(footerOf(creator, 5 * MIB))).toBe(size)
    expect(diskSize(footerOf(creator, 5 * MIB), 'chs')).toBe(byGeometry)
    expect(diskSize(footerOf(creator, 5 * MIB), 'current_size')).toBe(5 * MIB)
  })

  it('is the current size if the geometry is the largest, or none, whatever is asked for', () => {
    expect(diskSize(footerOf('qemu', 5 * MIB, MAX_GEOMETRY), 'chs')).toBe(5 * MIB)
    const none = { cylinders: 0, heads: 0, sectorsPerTrack: 0 }
    expect(diskSize(footerOf('vpc ', 5 * MIB + 100, none))).toBe(5 * MIB)
  })

  it('is 2040 GiB at most', () => {
    expect(diskSize({ ...footerOf('win ', 0), currentSize: BigInt(2040 * GIB) })).toBe(2040 * GIB)
    for (const currentSize of [BigInt(2040 * GIB) + 1n, 2n ** 64n - 1n])
      expect(() => diskSize({ ...footerOf('win ', 0), currentSize })).toThrow('more than 2040 GiB')
  })

  it('stays with the geometry as it grows, if that says it, and else does not depend on it any more', () => {
    const geometry = geometryOf(200 * 4 * 17)
    const exact = sectorsOf(geometry) * SECTOR
    const grown = resizedFooter(footerOf('qemu', byGeometry), exact, geometry)
    expect([diskSize(grown), grown.creator]).toEqual([exact, wordOf('qemu')])
    const other = resizedFooter(footerOf('vpc ', byGeometry), exact + SECTOR, geometry)
    expect([diskSize(other), other.creator]).toEqual([exact + SECTOR, wordOf('qem2')])
    expect(resizedFooter(footerOf('vbox', byGeometry), exact + SECTOR, geometry).creator).toBe(wordOf('vbox'))
  })
})

it('the text of a UUID is read back', () => {
  const text = '00112233-4455-6677-8899-aabbccddeeff'
  const { high, low } = uuidOf(text)
  expect([high, low]).toEqual([0x0011223344556677n, 0x8899aabbccddeeffn])
  expect(uuidText(high, low)).toBe(text)
})

it('a checksum leaves itself out', () => {
  const bytes = new Uint8Array(512).fill(1)
  expect(checksumOf(bytes, 64)).toBe(~508 >>> 0)
  bytes.fill(200, 64, 68)
  expect(checksumOf(bytes, 64)).toBe(~508 >>> 0)
})

describe('the name of a parent', () => {
  it.each([
    ['base.vhd', 'W2ru', '.\\base.vhd', 'base.vhd'],
    ['../a b/base.vhd', 'W2ru', '..\\a b\\base.vhd', '../a b/base.vhd'],
    ['./x/ünï.vhd', 'W2ru', '.\\x\\ünï.vhd', 'x/ünï.vhd'],
    ['C:\\disks\\base.vhd', 'W2ku', 'C:\\disks\\base.vhd', 'C:/disks/base.vhd'],
    ['/disks/a b#1.vhd', 'MacX', 'file://localhost/disks/a%20b%231.vhd', '/disks/a b#1.vhd'],
  ])('%s is written as %s, %s', (path, platform, stored, read) => {
    const { locator, data, name } = encodeName(path, 4096)
    expect(locator).toMatchObject({ platform: wordOf(platform), offset: 4096n, space: 512 })
    const part = data.subarray(0, locator.bytes)
    expect(new TextDecoder(platform === 'MacX' ? 'utf-8' : 'utf-16le').decode(part)).toBe(stored)
    expect(decodeLocator(locator, part)).toBe(read)
    expect(decodeName(name)).toBe(read.replace(/^.*\//, ''))
  })

  it.each(['', 'json:{}', 'nbd://host/disk', 'a\0b'])('is a path, and so not %j', (path) => {
    expect(() => encodeName(path, 0)).toThrow('names its parent by a path')
  })

  it('is never more than a path when it is read', () => {
    const locator = (platform: string) => ({ ...encodeName('x', 0).locator, platform: wordOf(platform) })
    const utf16 = (text: string) => Uint8Array.from([...text].flatMap((c) => [c.charCodeAt(0), 0]))
    expect(decodeLocator(locator('W2ru'), utf16('json:{"driver":"nbd"}'))).toBe('./json:{"driver":"nbd"}')
    expect(decodeLocator(locator('W2ru'), utf16('\\etc\\passwd'))).toBe('etc/passwd')
    expect(decodeLocator(locator('W2ru'), utf16('\0rest'))).toBeUndefined()
    for (const url of ['http://host/disk', 'file://host/disk', 'file:///a%00b', 'file:///%zz', 'nbd:x'])
      expect(decodeLocator(locator('MacX'), new TextEncoder().encode(url))).toBeUndefined()
  })
})
