/**
 * Logs that a crash left: what counts of them, in memory and in the file. Each sector that an entry writes is full of one
 * value; which of them show says what was replayed.
 */
import type { BlockNode } from '@vmblock/block-core'
import { describe, expect, it } from 'vitest'
import { MIB } from './format/header.ts'
import {
  bytesAt,
  copyOf,
  createImage,
  filled,
  hasLog,
  LOG_AT,
  open,
  putLog,
  type TestEntry,
} from './testing/images.ts'

/** A sector in the space behind the metadata, where nothing is. */
const FREE = 4 * MIB
const place = (index: number): number => FREE + index * 4096

/** The first bytes of the free sectors, and the length of the file, once the log has been replayed in the file. */
async function replayed(
  file: BlockNode,
): Promise<{ readonly values: readonly number[]; readonly size: number }> {
  const { node } = await open(file)
  await node.close()
  expect(await hasLog(file)).toBe(false)
  const values: number[] = []
  for (let index = 0; index < 6; index++) values.push((await bytesAt(file, place(index), 1))[0]!)
  return { values, size: file.size }
}

/** An entry of two sectors that writes the free sector `index`. */
const entry = (sequence: number, at: number, index: number, more: Partial<TestEntry> = {}): TestEntry => ({
  sequence,
  at,
  sectors: { [place(index)]: 100 + sequence },
  ...more,
})

/** Whether two files hold the same. */
const isSame = async (a: BlockNode, b: BlockNode): Promise<boolean> =>
  Buffer.compare(await bytesAt(a, 0, a.size), await bytesAt(b, 0, b.size)) === 0

const ENTRY = 8192
const END = MIB - ENTRY
/** Changes a byte of an entry. */
const flipped =
  (at: number, bits = 1) =>
  (bytes: Uint8Array): void => {
    bytes[at]! ^= bits
  }
const torn = flipped(5000)

describe('of a log', () => {
  it.each<[string, TestEntry[], readonly number[]]>([
    ['one entry', [entry(7, 0, 0)], [107, 0, 0]],
    ['two entries', [entry(7, 0, 0), entry(8, ENTRY, 1, { tail: 0 })], [107, 108, 0]],
    [
      'the later of two that write one sector',
      [entry(7, 0, 0), entry(8, ENTRY, 0, { tail: 0 })],
      [108, 0, 0],
    ],
    ['not what is torn', [entry(7, 0, 0), entry(8, ENTRY, 1, { tail: 0, damage: torn })], [107, 0, 0]],
    [
      'nothing, if all is torn',
      [entry(7, 0, 0, { damage: torn }), entry(8, ENTRY, 1, { damage: torn })],
      [0, 0, 0],
    ],
    ['not what is behind a gap, if that is older', [entry(7, 0, 0), entry(5, 3 * ENTRY, 1)], [107, 0, 0]],
    [
      'not a second entry with another number',
      [entry(7, 0, 0), entry(9, ENTRY, 1, { tail: 0 })],
      [107, 0, 0],
    ],
    ['a newer sequence behind an older one', [entry(7, 0, 0), entry(9, ENTRY, 1)], [0, 109, 0]],
    [
      'not what another log has left',
      [entry(7, 0, 0, { guid: 99n }), entry(8, ENTRY, 1, { guid: 99n })],
      [0, 0, 0],
    ],
    [
      'not an entry of another log in between',
      [entry(7, 0, 0), entry(8, ENTRY, 1, { guid: 99n })],
      [107, 0, 0],
    ],
    [
      'not what is before the tail',
      [entry(7, 0, 0), entry(8, ENTRY, 1), entry(9, 2 * ENTRY, 2, { tail: ENTRY })],
      [0, 108, 109],
    ],
    [
      'what goes on at the start',
      [entry(7, END, 0), entry(8, 0, 1, { tail: END }), entry(9, ENTRY, 2, { tail: END })],
      [107, 108, 109],
    ],
    [
      'an entry of which a part is at the start',
      [entry(7, MIB - 4096, 0), entry(8, 4096, 1, { tail: MIB - 4096 })],
      [107, 108, 0],
    ],
    [
      'nothing whose tail is not there',
      [entry(7, 0, 0), entry(8, ENTRY, 1, { tail: 20 * ENTRY })],
      [0, 0, 0],
    ],
    [
      'not an entry whose data has another number, though its checksum is right',
      [entry(7, 0, 0), entry(8, ENTRY, 1, { tail: 0, forge: flipped(8191) })],
      [107, 0, 0],
    ],
    [
      'not a descriptor of another number, though its checksum is right',
      [entry(7, 0, 0), entry(8, ENTRY, 1, { tail: 0, forge: flipped(64 + 24) })],
      [107, 0, 0],
    ],
    [
      'not an entry that is longer than the log',
      [entry(7, 0, 0), entry(8, ENTRY, 1, { tail: 0, forge: flipped(10, 0x20) })],
      [107, 0, 0],
    ],
  ])('%s counts', async (_, entries, expected) => {
    const file = await createImage()
    await putLog(file, entries)
    // In memory first: then nothing may be written.
    const before = await copyOf(file)
    const { node, log } = await open(file, { readOnly: true })
    expect(await node.check()).toMatchObject({ corruptions: 0, corruptionsFixed: 0 })
    await node.close()
    expect(log.entries.filter(({ kind }) => kind !== 'flush')).toEqual([])
    expect(await isSame(file, before)).toBe(true)
    expect((await replayed(file)).values.slice(0, 3)).toEqual(expected)
  })

  it('zeroes are written, of any length', async () => {
    const file = await createImage()
    await file.write(FREE, filled(9, MIB))
    const forge = (bytes: Uint8Array): void => {
      bytes.set(new TextEncoder().encode('zero'), 64)
      bytes.set([0, 0, 0, 0, 0, 0x30, 0, 0, 0, 0, 0, 0], 68)
    }
    await putLog(file, [{ sequence: 1, at: 0, sectors: { [place(1)]: 1 }, forge }])
    expect((await replayed(file)).values).toEqual([9, 0, 0, 0, 9, 9])
  })

  it('the length of the file counts, whatever it is a multiple of', async () => {
    for (const last of [30 * MIB, 30 * MIB + 4096]) {
      const file = await createImage()
      await putLog(file, [entry(1, 0, 0, { last })])
      expect((await replayed(file)).size).toBe(last)
    }
  })

  it('what cannot be right is refused, before anything is changed', async () => {
    const cases: [Partial<TestEntry>, RegExp][] = [
      [{ flushed: 30 * MIB }, /has been truncated: it has 8388608 bytes, and its log says that 31457280/],
      [{ last: 2 ** 50 }, /needs 1125899906842624 bytes/],
      [{ sectors: { 65536: 1 } }, /changes 65536-69632, where it must not/],
      [{ sectors: { [LOG_AT + 8192]: 1 } }, /changes 1056768-1060864, where it must not/],
    ]
    for (const [more, message] of cases) {
      const file = await createImage()
      await putLog(file, [entry(1, 0, 0), entry(2, ENTRY, 1, { tail: 0, ...more })])
      const before = await copyOf(file)
      for (const readOnly of [true, false]) await expect(open(file, { readOnly })).rejects.toThrow(message)
      expect(await isSame(file, before)).toBe(true)
    }
  })

  it('a log of entries that overlap takes no time without end', async () => {
    const file = await createImage({ log_size: 16 * MIB })
    // Each sector claims to be an entry of nearly the whole log.
    const claim = (bytes: Uint8Array): void => void bytes.set([0, 0, 0xf0, 0], 8)
    const entries = Array.from({ length: 64 }, (_, i) => entry(1, i * 4096, 0, { damage: claim }))
    await putLog(file, entries)
    await expect(open(file, { readOnly: true })).rejects.toThrow('too many damaged entries')
  })
})

describe('a log in memory', () => {
  it('shows what the table will be', async () => {
    const file = await createImage()
    const { node } = await open(file)
    await node.write(0, filled(5, 4096))
    await node.flush()
    await node.crash()
    expect(await hasLog(file)).toBe(true)
    const { node: reader, log } = await open(file, { readOnly: true })
    expect((await bytesAt(reader, 0, 1))[0]).toBe(5)
    expect(await reader.blockStatus(0, 100)).toMatchObject({ data: true, host: { offset: 8 * MIB } })
    await reader.close()
    expect(log.entries.every(({ kind }) => kind === 'flush')).toBe(true)
    expect(await hasLog(file)).toBe(true)
  })

  it('shows data, should a log ever hold some', async () => {
    const file = await createImage({ subformat: 'fixed' })
    await putLog(file, [{ sequence: 1, at: 0, sectors: { [8 * MIB + 4096]: 7 } }])
    const { node } = await open(file, { readOnly: true })
    expect([...(await bytesAt(node, 4095, 3))]).toEqual([0, 7, 7])
    expect([...(await bytesAt(node, 8191, 2))]).toEqual([7, 0])
    expect((await node.blockStatus(0, 100)).host).toBeUndefined()
    await node.close()
  })
})

describe('a repair', () => {
  it('replays the log, and counts it', async () => {
    const file = await createImage()
    await putLog(file, [entry(1, 0, 0)])
    const { node, log } = await open(file, { 'check-mode': true })
    expect(await node.check()).toMatchObject({ corruptions: 0, corruptionsFixed: 0 })
    expect(log.entries.filter(({ kind }) => kind === 'write')).toEqual([])
    expect(await node.check({ repair: 'all' })).toMatchObject({ corruptions: 0, corruptionsFixed: 1 })
    expect(await node.check({ repair: 'all' })).toMatchObject({ corruptions: 0, corruptionsFixed: 0 })
    await node.close()
    expect(await hasLog(file)).toBe(false)
    expect((await bytesAt(file, FREE, 1))[0]).toBe(101)
  })

  it('may be repeated after a crash at any write', async () => {
    const file = await createImage()
    await putLog(file, [entry(1, 0, 0), entry(2, ENTRY, 1, { tail: 0, last: 12 * MIB })])
    const whole = await copyOf(file)
    const { node, log } = await open(whole)
    await node.close()
    const writes = log.entries.filter(({ kind }) => kind === 'write' || kind === 'truncate')
    expect(writes.length).toBeGreaterThan(4)
    for (let count = 0; count <= writes.length; count++) {
      const crashed = await copyOf(file)
      for (const write of writes.slice(0, count))
        if (write.kind === 'truncate') await crashed.truncate(write.size)
        else if (write.kind === 'write') await crashed.write(write.offset, write.data!)
      const { values, size } = await replayed(crashed)
      expect(values.slice(0, 3)).toEqual([101, 102, 0])
      expect(size).toBe(12 * MIB)
    }
  })
})
