/**
 * Errors at every step that the driver announces: whatever fails, refcounts are never too low afterwards, data
 * of requests that succeeded is there, and the next write works.
 */
import {
  type BlockNode,
  DEBUG_EVENTS,
  type DebugEvent,
  memoryFromBytes,
  openNode,
  type RawOptions,
} from '@vmblock/block-core'
import { createRandom, toBytes } from '@vmblock/block-core/testing'
import { describe, expect, test } from 'vitest'
import {
  bytesAt,
  createImage,
  environment,
  filled,
  findings,
  open,
  pattern,
  SAFE,
  sameBytes,
} from './testing/images.ts'

/** Steps of a refcount table that becomes too small, which takes a larger image. */
const TABLE_GROWTH: readonly DebugEvent[] = [
  'reftable_grow',
  'refblock_alloc_write_blocks',
  'refblock_alloc_write_table',
  'refblock_alloc_switch_table',
]

/** Steps that this driver does not take, or that belong to other drivers. */
const NOT_HERE: ReadonlySet<DebugEvent> = new Set<DebugEvent>([
  'l2_update_compressed',
  'write_compressed',
  'read_compressed',
  'vmstate_load',
  'vmstate_save',
  'cluster_alloc_bytes',
  'cluster_alloc_space',
  'cor_write',
  'refblock_update',
  'reftable_update',
  'pwritev_zero',
  'pwritev_rmw_head',
  'pwritev_rmw_after_head',
  'pwritev_rmw_tail',
  'pwritev_rmw_after_tail',
  'none',
])
const EVENTS = DEBUG_EVENTS.filter((event) => !NOT_HERE.has(event) && !TABLE_GROWTH.includes(event))

const CLUSTER = 512
const SIZE = 96 * 1024
/** Everything here was written and flushed before the errors begin. */
const SAFE_AREA = 16 * 1024

interface Variety {
  readonly name: string
  readonly create: RawOptions
  readonly errno: number
}

const VARIETIES: readonly Variety[] = [
  { name: 'eager', create: { refcount_bits: 64 }, errno: 28 },
  { name: 'lazy', create: { refcount_bits: 64, lazy_refcounts: 'on' }, errno: 5 },
]

/** Requests of every kind, which reach every table; failures are counted and otherwise ignored. */
class Guest {
  readonly #node: BlockNode
  /** What each byte must be; -1 where a request failed. */
  readonly expected: Int16Array
  failures = 0

  constructor(node: BlockNode, before: Uint8Array) {
    this.#node = node
    this.expected = Int16Array.from(before)
  }

  async #try(offset: number, bytes: number, result: ArrayLike<number> | number, run: () => Promise<void>) {
    try {
      await run()
      if (typeof result === 'number') this.expected.fill(result, offset, offset + bytes)
      else this.expected.set(result, offset)
    } catch {
      this.failures++
      this.expected.fill(-1, offset, offset + bytes)
    }
  }

  write(offset: number, bytes: number, seed: number): Promise<void> {
    const data = pattern(bytes, seed)
    return this.#try(offset, bytes, data, () => this.#node.write(offset, data))
  }
  zero(offset: number, bytes: number, mayUnmap: boolean): Promise<void> {
    return this.#try(offset, bytes, 0, () => this.#node.writeZeroes(offset, bytes, { mayUnmap }))
  }
  discard(offset: number, bytes: number): Promise<void> {
    return this.#try(offset, bytes, 0, () => this.#node.discard(offset, bytes))
  }
  async flush(): Promise<void> {
    await this.#node.flush().catch(() => this.failures++)
  }
  async read(offset: number, bytes: number): Promise<void> {
    await bytesAt(this.#node, offset, bytes).catch(() => this.failures++)
  }

  async run(): Promise<void> {
    const random = createRandom(7)
    for (let round = 0; round < 3; round++) {
      for (let at = SAFE_AREA; at < SIZE - 8192; at += 6000) await this.write(at, 3000, at + round)
      await this.flush()
      for (let i = 0; i < 5; i++) {
        const at = SAFE_AREA + random.int(0, 100) * CLUSTER
        await this.discard(at, 3 * CLUSTER)
        await this.zero(at + 8 * CLUSTER, 2 * CLUSTER, i % 2 === 0)
        await this.write(at + 12 * CLUSTER + 100, 200, i + 50)
        await this.read(at, 4096)
      }
      await this.flush()
    }
    await this.#node.truncate(SIZE + 2 ** 22).catch(() => this.failures++)
    await this.#node.truncate(SIZE).catch(() => this.failures++)
    await this.flush()
  }
}

async function prepared({ create }: Variety) {
  const base = await createImage({ size: 2 * SIZE, cluster_size: CLUSTER })
  const below = await open(base)
  await below.write(0, pattern(SIZE, 3))
  const file = await createImage({ size: SIZE, cluster_size: CLUSTER, ...create })
  const node = await openNode(environment, { driver: 'qcow2', file, backing: below })
  await node.write(0, pattern(SAFE_AREA, 4))
  await node.close()
  const content = pattern(SIZE, 3)
  content.set(pattern(SAFE_AREA, 4))
  return { file, below, content }
}

async function faulty(file: BlockNode, below: BlockNode, rule: RawOptions): Promise<BlockNode | undefined> {
  return openNode(environment, {
    driver: 'qcow2',
    discard: 'unmap',
    backing: below,
    'l2-cache-entry-size': 512,
    'l2-cache-size': 2048,
    'refcount-cache-size': 2048,
    file: { driver: 'blkdebug', image: file, 'inject-error': [{ immediately: true, ...rule }] },
  }).catch(() => undefined)
}

function sameWhereKnown(content: Uint8Array, expected: Int16Array): number {
  for (let at = 0; at < content.length; at++)
    if (expected[at] !== -1 && expected[at] !== content[at]) return at
  return -1
}

/** Steps at which an error was really met, over all tests. */
const met = new Set<DebugEvent>()

describe.each(VARIETIES)('an error in an image with $name refcounts', (variety) => {
  test.each(EVENTS)('once, at %s, is one error', async (event) => {
    {
      const { file, below, content } = await prepared(variety)
      const node = await faulty(file, below, { event, errno: variety.errno, once: true })
      if (!node) {
        met.add(event)
        return
      }
      const guest = new Guest(node, content)
      await guest.run()
      if (guest.failures > 0) met.add(event)
      await guest.write(SAFE_AREA, 5000, 99)
      await guest.flush()
      // The error may come as late as this.
      const seen = await toBytes(node).catch(() => toBytes(node))
      expect(sameWhereKnown(seen, guest.expected)).toBe(-1)
      await node.close().catch(() => met.add(event))
      expect(await findings(file)).toMatchObject(SAFE)
      const again = await openNode(environment, { driver: 'qcow2', file, backing: below })
      expect(sameWhereKnown(await toBytes(again), guest.expected), 'reopened').toBe(-1)
      await again.write(0, filled(1, SIZE))
      await again.close()
      expect(await findings(file)).toMatchObject(SAFE)
    }
  })

  test.each(EVENTS)('that stays, from %s on, loses nothing that was safe', async (event) => {
    {
      const { file, below, content } = await prepared(variety)
      const node = await faulty(file, below, { event, errno: variety.errno, once: false })
      if (node) {
        const guest = new Guest(node, content)
        await guest.run()
        if (guest.failures > 0) met.add(event)
        await node.crash()
      }
      const again = await openNode(environment, { driver: 'qcow2', file, backing: below })
      expect(Buffer.compare(await bytesAt(again, 0, SAFE_AREA), content.subarray(0, SAFE_AREA))).toBe(0)
      await again.write(0, filled(1, SIZE))
      await again.close()
      expect(await findings(file)).toMatchObject(SAFE)
    }
  })
})

describe('the steps', () => {
  test('are all reached', () => {
    const expected = EVENTS.filter(
      (event) =>
        !['reftable_load', 'empty_image_prepare', 'l2_alloc_cow_read', 'cow_write', 'pwritev_done'].includes(
          event,
        ),
    )
    expect(expected.filter((event) => !met.has(event))).toEqual([])
  })
})

describe('a refcount table that grows', () => {
  /** An image whose refcount table is all but full: 64 blocks of 64 refcounts. */
  const nearlyFull = async (): Promise<Uint8Array> => {
    const file = await createImage({ size: 2 ** 22, cluster_size: CLUSTER, refcount_bits: 64 })
    const node = await open(file)
    await node.write(0, pattern(1_900_000))
    await node.close()
    return toBytes(file)
  }
  let full: Promise<Uint8Array> | undefined

  test.each(TABLE_GROWTH)('survives an error at %s', async (event) => {
    full ??= nearlyFull()
    for (const once of [true, false]) {
      const file = memoryFromBytes((await full).slice())
      const node = await faulty(file, await open(await createImage({ size: 0 })), { event, once })
      let failures = 0
      for (let at = 1_900_032; at < 2_200_000; at += 8192)
        await node!.write(at, filled(9, 4096)).catch(() => failures++)
      expect(failures).toBeGreaterThan(0)
      if (once) await node!.close()
      else await node!.crash()
      expect(await findings(file)).toMatchObject(SAFE)
      const again = await open(file)
      expect(sameBytes(await bytesAt(again, 0, 1_900_000), pattern(1_900_000))).toBe(true)
      await again.write(1_900_032, filled(5, 400_000))
      await again.close()
      expect(await findings(file)).toMatchObject(SAFE)
    }
  })
})

describe('a request that fails', () => {
  test('gives its clusters back', async () => {
    const file = await createImage({ size: 2 ** 20 })
    const node = await faulty(file, await open(await createImage({ size: 0 })), {
      event: 'write_aio',
      once: true,
    })
    await expect(node!.write(0, filled(1, 65536))).rejects.toMatchObject({ code: 'EIO' })
    await node!.write(65536, filled(2, 65536))
    await node!.close()
    expect(await findings(file)).toMatchObject({ ...SAFE, leaks: 0, imageEndOffset: 6 * 65536 })
  })

  test('for want of a refcount block leaves the clusters it found to the next', async () => {
    /** Where the file ends after the same writes, of which some fail. */
    const endAfter = async (rule: RawOptions): Promise<{ end: number; failed: number }> => {
      const file = await createImage({ size: 2 ** 20, cluster_size: 512, refcount_bits: 64 })
      const node = await faulty(file, await open(await createImage({ size: 0 })), rule)
      let failed = 0
      for (let at = 0; at < 2 ** 16; at += 512) await node!.write(at, filled(1, 512)).catch(() => failed++)
      await node!.close()
      const { imageEndOffset, ...rest } = await findings(file)
      expect(rest).toMatchObject({ ...SAFE, leaks: 0 })
      return { end: imageEndOffset!, failed }
    }
    const { end } = await endAfter({ event: 'cor_write' })
    const event = { event: 'refblock_alloc_write', once: true, errno: 28 }
    expect(await endAfter(event)).toEqual({ end: end - 512, failed: 1 })
  })
})
