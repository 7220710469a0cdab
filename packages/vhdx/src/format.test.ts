/** The structures of the format, as bytes and as values. */
import { describe, expect, it } from 'vitest'
import { decodeEntry, encodeEntry, entryOfBitmap, entryOfBlock, geometryOf } from './format/bat.ts'
import { crc32c, hasRightChecksum, withChecksum } from './format/crc32c.ts'
import { guidText, guidWords, knownGuid, parseGuid, randomGuid } from './format/guid.ts'
import { currentHeader, decodeHeader, encodeHeader, type Header, MIB } from './format/header.ts'
import * as entries from './format/log-entry.ts'

describe('CRC-32C', () => {
  it('is that of the check values', () => {
    expect(crc32c(new TextEncoder().encode('123456789'))).toBe(0xe3069283)
    expect(crc32c(new Uint8Array(32))).toBe(0x8a9136aa)
    expect(crc32c(new Uint8Array(32).fill(0xff))).toBe(0x62a8ab43)
  })

  it('leaves its own field out', () => {
    const bytes = Uint8Array.from({ length: 64 }, (_, i) => i)
    withChecksum(bytes)
    expect(hasRightChecksum(bytes)).toBe(true)
    bytes[4]! ^= 1
    expect(hasRightChecksum(bytes)).toBe(false)
  })
})

describe('a GUID', () => {
  const text = '2DC27766-F623-4200-9D64-115E9BFD4A08'

  it('has its first three groups in reverse in the file', () => {
    const { low, high } = guidWords(knownGuid(text))
    const bytes = new DataView(new ArrayBuffer(16))
    bytes.setBigUint64(0, low, true)
    bytes.setBigUint64(8, high, true)
    expect(Buffer.from(bytes.buffer).toString('hex')).toBe('6677c22d23f600429d64115e9bfd4a08')
    expect(guidText(knownGuid(text))).toBe(text)
  })

  it('is read with braces, and no other text is one', () => {
    expect(parseGuid(`{${text.toLowerCase()}}`)).toBe(knownGuid(text))
    expect(parseGuid('2DC27766F62342009D64115E9BFD4A08')).toBeUndefined()
    expect(parseGuid('')).toBeUndefined()
  })

  it('is of version 4 if it is new', () => {
    expect(guidText(randomGuid())).toMatch(/^.{8}-.{4}-4.{3}-[89AB].{3}-.{12}$/)
    expect(randomGuid()).not.toBe(randomGuid())
  })
})

describe('the headers', () => {
  const header: Header = {
    sequence: 2n ** 40n,
    fileWriteGuid: randomGuid(),
    dataWriteGuid: randomGuid(),
    logGuid: 0n,
    logVersion: 0,
    logOffset: 5 * MIB,
    logLength: MIB,
  }

  it('are read as they were written', () => {
    expect(decodeHeader(encodeHeader(header))).toEqual(header)
  })

  it.each([0, 4, 66, 4095])('do not count with a wrong byte at %i', (at) => {
    const bytes = encodeHeader(header)
    bytes[at]! ^= 0x40
    expect(decodeHeader(bytes)).toBeUndefined()
  })

  it('are chosen by their sequence numbers', () => {
    const later = { ...header, sequence: header.sequence + 1n }
    expect(currentHeader(header, later)).toBe(1)
    expect(currentHeader(later, header)).toBe(0)
    expect(currentHeader(undefined, header)).toBe(1)
    expect(currentHeader(header, undefined)).toBe(0)
    expect(currentHeader(header, { ...header })).toBe(0)
    expect(() => currentHeader(header, { ...header, dataWriteGuid: 1n })).toThrow(
      'No valid VHDX header found',
    )
    expect(() => currentHeader(undefined, undefined)).toThrow('No valid VHDX header found')
  })
})

describe('the block allocation table', () => {
  const disk = { blockSize: MIB, logicalSector: 512, physicalSector: 512, isFixed: false }

  it.each([
    // An entry for a sector bitmap follows after each whole chunk, but not at the end.
    [4096, false, 4096],
    [4097, false, 4098],
    [8193, false, 8195],
    [4096, true, 4097],
    [1, true, 4097],
    [4097, true, 8194],
    [0, false, 0],
  ])('of %i blocks, with a parent: %s, has %i entries', (blocks, hasParent, expected) => {
    expect(geometryOf({ ...disk, size: blocks * MIB, hasParent }).entries).toBe(expected)
  })

  it.each([
    [MIB, 512, 4096],
    [8 * MIB, 512, 512],
    [256 * MIB, 512, 16],
    [MIB, 4096, 32768],
  ])('with blocks of %i and sectors of %i has %i of them in a chunk', (blockSize, logicalSector, ratio) => {
    expect(geometryOf({ ...disk, blockSize, logicalSector, size: MIB, hasParent: false }).chunkRatio).toBe(
      ratio,
    )
  })

  it('has bitmaps between the blocks', () => {
    const geometry = geometryOf({ ...disk, size: 10_000 * MIB, hasParent: true })
    expect([0, 4095, 4096, 8191, 8192].map((block) => entryOfBlock(geometry, block))).toEqual([
      0, 4095, 4097, 8192, 8194,
    ])
    expect([0, 4095, 4096].map((block) => entryOfBitmap(geometry, block))).toEqual([4096, 4096, 8193])
  })

  it('holds offsets of 44 bits, exactly', () => {
    const view = new DataView(new ArrayBuffer(8))
    encodeEntry(view, 0, 6, 5 * 2 ** 40 + 3 * MIB)
    expect(decodeEntry(view, 0)).toEqual({ state: 6, offset: 5 * 2 ** 40 + 3 * MIB, hasReserved: false })
    view.setBigUint64(0, 2n ** 64n - 1n, true)
    expect(decodeEntry(view, 0)).toEqual({ state: 7, offset: 2 ** 64 - MIB, hasReserved: true })
  })
})

describe('an entry of the log', () => {
  const sector = Uint8Array.from({ length: 4096 }, (_, i) => i * 7)
  const whole = (count: number): Uint8Array =>
    entries.encodeEntry({
      tail: 4096,
      sequence: 2n ** 33n + 5n,
      logGuid: 77n,
      flushedOffset: 9 * MIB,
      lastOffset: 10 * MIB,
      sectors: Array.from({ length: count }, (_, i) => [2 * MIB + i * 4096, sector]),
    })

  it.each([1, 2, 126, 127, 254, 255])('with %i sectors is read as it was written', (count) => {
    const bytes = whole(count)
    expect(bytes.length).toBe(entries.entryBytes(count))
    expect(entries.sectorsThatFit(bytes.length)).toBe(count)
    expect(entries.sectorsThatFit(bytes.length - 4096)).toBeLessThan(count)
    const head = entries.decodeEntryHead(bytes, 77n, MIB * 4)!
    expect(head).toMatchObject({ tail: 4096, sequence: 2n ** 33n + 5n, descriptors: count })
    const changes = entries.decodeEntryChanges(bytes, head)!
    expect(changes.length).toBe(count)
    expect(changes.at(-1)).toEqual({ offset: BigInt(2 * MIB + (count - 1) * 4096), data: sector })
  })

  it('has 126 descriptors in its first sector', () => {
    expect([126, 127, 254, 255].map(entries.entryBytes)).toEqual([127, 129, 256, 258].map((n) => n * 4096))
  })

  it('is of one log alone, and no larger than that', () => {
    const bytes = whole(1)
    expect(entries.decodeEntryHead(bytes, 78n, MIB)).toBeUndefined()
    expect(entries.decodeEntryHead(bytes, 77n, 4096)).toBeUndefined()
  })

  it.each([
    ['a torn data sector', 4096 + 100],
    ['the signature of a data sector', 4096],
    ['a descriptor', 64],
    ['the end', 8191],
  ])('does not count with a wrong byte in %s', (_, at) => {
    const bytes = whole(1)
    bytes[at]! ^= 1
    const head = entries.decodeEntryHead(bytes, 77n, MIB)!
    expect(entries.decodeEntryChanges(bytes, head)).toBeUndefined()
    // With the right checksum, it contradicts itself all the same, unless it is data.
    withChecksum(bytes)
    expect(entries.decodeEntryChanges(bytes, head) === undefined).toBe(at !== 4096 + 100)
  })
})
