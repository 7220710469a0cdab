/**
 * Many requests at once, on tables that do not fit their caches: every byte is what one of the last requests
 * for it left, nothing is given to two owners, and freed clusters are used again, but not too early.
 */
import type { BlockNode, RawOptions } from '@vmblock/block-core'
import { openNode, reopenNode } from '@vmblock/block-core'
import { createRandom, toBytes } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import {
  bytesAt,
  createImage,
  environment,
  filled,
  findings,
  open,
  openLogged,
  pattern,
  SOUND,
} from './testing/images.ts'

const TINY = { 'l2-cache-size': 1024, 'refcount-cache-size': 1024, 'l2-cache-entry-size': 512 }
const SIZE = 256 * 1024

const VARIETIES: readonly (readonly [string, RawOptions])[] = [
  ['clusters of 512', { cluster_size: 512, refcount_bits: 64 }],
  ['lazy', { cluster_size: 512, lazy_refcounts: 'on' }],
  ['subclusters', { cluster_size: 16384, extended_l2: 'on' }],
  ['version 2', { cluster_size: 4096, compat: '0.10' }],
  ['64 KiB', {}],
]

/** A disk whose answers come in any order: requests yield a random number of times before they go down. */
async function shaken(file: BlockNode, seed: number, options: RawOptions): Promise<BlockNode> {
  const random = createRandom(seed)
  const { node } = await openLogged(file, { ...TINY, ...options })
  const child = node.file!
  for (const name of ['read', 'write', 'flush'] as const) {
    const original = child[name].bind(child) as (...args: unknown[]) => Promise<void>
    Object.defineProperty(child, name, {
      value: async (...args: unknown[]) => {
        for (let turns = random.int(0, 12); turns > 0; turns--) await Promise.resolve()
        await original(...args)
        for (let turns = random.int(0, 12); turns > 0; turns--) await Promise.resolve()
      },
    })
  }
  return node
}

describe.each(VARIETIES)('requests at once, %s', (_, create) => {
  test.each([1, 2])('seed %i: ranges that do not overlap do not disturb each other', async (seed) => {
    const random = createRandom(seed)
    const file = await createImage({ size: SIZE, ...create })
    const node = await shaken(file, seed, {})
    const model = new Uint8Array(SIZE)
    for (let round = 0; round < 18; round++) {
      // Cuts at sectors, so that neighbours share clusters and subclusters.
      const cuts = Array.from({ length: 12 }, () => random.int(0, SIZE / 512 + 1) * 512).sort((a, b) => a - b)
      const batch: Promise<void>[] = []
      for (let i = 0; i + 1 < cuts.length; i++) {
        const start = cuts[i]!
        const length = Math.min(cuts[i + 1]! - start, 30_000)
        if (length === 0) continue
        const kind = random.int(0, 10)
        if (kind < 5) {
          const data = random.bytes(length)
          batch.push(node.write(start, data))
          model.set(data, start)
        } else if (kind < 8) {
          batch.push(node.writeZeroes(start, length, { mayUnmap: random.chance(0.5) }))
          model.fill(0, start, start + length)
        } else if (kind < 9) {
          batch.push(node.discard(start, length))
          // Whole clusters read as zeroes, the rest stays.
          const { discardAlignment } = node.limits
          const from = Math.ceil(start / discardAlignment) * discardAlignment
          const to =
            start + length === SIZE
              ? SIZE
              : Math.floor((start + length) / discardAlignment) * discardAlignment
          if (from < to) model.fill(0, from, to)
        } else batch.push(bytesAt(node, start, length).then(() => undefined))
        if (random.chance(0.2)) batch.push(node.flush())
      }
      await Promise.all(batch)
      const seen = await toBytes(node)
      const wrong = seen.findIndex((byte, at) => byte !== model[at])
      expect(wrong, `round ${round}`).toBe(-1)
    }
    expect(await node.check()).toMatchObject({ corruptions: 0, leaks: 0, checkErrors: 0 })
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test('overlapping writes, zeroes and discards leave every sector to one of them', async () => {
    const random = createRandom(11)
    const file = await createImage({ size: SIZE, ...create })
    const node = await shaken(file, 11, {})
    for (let round = 0; round < 15; round++) {
      const allowed = Array.from({ length: SIZE / 512 }, () => new Set<number>())
      const before = await toBytes(node)
      for (let sector = 0; sector < allowed.length; sector++) allowed[sector]!.add(before[sector * 512]!)
      const batch: Promise<void>[] = []
      for (let i = 0; i < 14; i++) {
        const start = random.int(0, 60) * 512
        const length = random.int(1, 40) * 512
        const value = 1 + ((round * 14 + i) % 255)
        const kind = random.int(0, 5)
        if (kind < 3) batch.push(node.write(start, filled(value, length)))
        else if (kind < 4) batch.push(node.writeZeroes(start, length, { mayUnmap: random.chance(0.5) }))
        else batch.push(node.discard(start, length))
        for (let at = start / 512; at < (start + length) / 512; at++) allowed[at]!.add(kind < 3 ? value : 0)
        if (random.chance(0.3)) batch.push(node.flush())
      }
      await Promise.all(batch)
      const after = await toBytes(node)
      for (let sector = 0; sector < allowed.length; sector++) {
        const bytes = new Set(after.subarray(sector * 512, sector * 512 + 512))
        expect(bytes.size, `sector ${sector} is one request's`).toBe(1)
        expect(allowed[sector]!.has(after[sector * 512]!), `sector ${sector}, round ${round}`).toBe(true)
      }
    }
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })
})

describe('zeroing a part of a cluster', () => {
  test('spares what is written beside it at the same time', async () => {
    for (const compat of ['0.10', '1.1']) {
      const file = await createImage({ size: SIZE, compat })
      const node = await open(file)
      await Promise.all([node.write(0, filled(7, 512)), node.writeZeroes(512, 65536 - 512)])
      expect(await bytesAt(node, 0, 513)).toEqual(Uint8Array.of(...filled(7, 512), 0))
      await Promise.all([node.writeZeroes(65536, 1000), node.write(65536 + 1000, filled(8, 100))])
      expect((await bytesAt(node, 65536 + 1000, 1))[0]).toBe(8)
      await node.close()
    }
  })
})

describe('a freed cluster', () => {
  /** Host offset of the first guest cluster. */
  const hostOf = async (node: BlockNode, offset: number): Promise<number | undefined> =>
    (await node.blockStatus(offset, 512)).host?.offset

  test('is given to somebody else after a flush, not before', async () => {
    const node = await open(await createImage({ size: 2 ** 20 }))
    await node.write(0, pattern(65536))
    const host = await hostOf(node, 0)
    await node.discard(0, 65536)
    await node.write(65536, pattern(65536))
    expect(await hostOf(node, 65536)).not.toBe(host)
    await node.flush()
    await node.write(2 * 65536, pattern(65536))
    expect(await hostOf(node, 2 * 65536)).toBe(host)
    await node.close()
  })

  test('waits for the requests that may still be on their way to it', async () => {
    const file = await createImage({ size: 2 ** 20 })
    const debug = await openNode(environment, { driver: 'blkdebug', image: file })
    const node = await open(debug)
    await node.write(0, filled(1, 65536))
    await node.flush()
    const host = await hostOf(node, 0)
    const { breakpoints } = debug.ops
    breakpoints!.set('read_aio', 'slow')
    const slow = bytesAt(node, 0, 512)
    await breakpoints!.wait('slow')
    await node.discard(0, 65536)
    await node.flush()
    await node.write(65536, filled(2, 65536))
    expect(await hostOf(node, 65536)).not.toBe(host)
    breakpoints!.resume('slow')
    expect(await slow).toEqual(filled(1, 512))
    await node.flush()
    await node.write(2 * 65536, filled(3, 65536))
    expect(await hostOf(node, 2 * 65536)).toBe(host)
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })

  test('is discarded in the file where that was asked for', async () => {
    for (const [options, discards] of [
      [{}, 1],
      [{ 'pass-discard-request': false }, 0],
      [{ discard: 'ignore' }, 0],
    ] as const) {
      const { node, log } = await openLogged(await createImage({ size: 2 ** 20 }), options)
      await node.write(0, pattern(65536))
      await node.flush()
      await node.discard(0, 65536)
      await node.flush()
      expect(log.count().discards, JSON.stringify(options)).toBe(discards)
      await node.close()
    }
  })

  test('that the end of the file was cut off with reads as zeroes when it comes back', async () => {
    const file = await createImage({ size: 2 ** 20 })
    const { truncate } = file.ops
    let refuses = true
    // A host that claims to have cut off, and has not.
    Object.defineProperty(file.ops, 'truncate', {
      value: async (size: number, options: object) => {
        if (!refuses) await truncate!.call(file.ops, size, options)
      },
    })
    const node = await open(file)
    await node.write(0, filled(9, 2 ** 20))
    await node.truncate(65536)
    await node.truncate(2 ** 20)
    await node.write(2 ** 19 + 1000, filled(1, 10))
    expect(await bytesAt(node, 2 ** 19, 1000)).toEqual(new Uint8Array(1000))
    expect(await bytesAt(node, 2 ** 19 + 1010, 1000)).toEqual(new Uint8Array(1000))
    refuses = false
    await node.close()
  })
})

describe('a reopen under load', () => {
  test('loses nothing', async () => {
    const file = await createImage({ size: SIZE, cluster_size: 512 })
    const node = await shaken(file, 5, {})
    const writes = Array.from({ length: 40 }, (_, i) => node.write(i * 6000, pattern(5000, i + 1)))
    await reopenNode(node, { options: { 'lazy-refcounts': true, 'l2-cache-size': 4096 } })
    await Promise.all(writes)
    for (let i = 0; i < 40; i++) expect(await bytesAt(node, i * 6000, 5000)).toEqual(pattern(5000, i + 1))
    await node.close()
    expect(await findings(file)).toMatchObject(SOUND)
  })
})
