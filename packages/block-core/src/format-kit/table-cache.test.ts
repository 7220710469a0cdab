/** The table cache compared with a model, the order of its writes, and its state after failures. */
import { describe, expect, test } from 'vitest'
import { BlockError } from '../base/errors.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { openMemory } from '../drivers/memory.ts'
import { edgeTo, nodeOf } from '../testing/nodes.ts'
import { createRandom } from '../testing/random.ts'
import { TableCache, type TableCacheOptions } from './table-cache.ts'

const SLICE = 1024
const SLICES = 24

/** A disk that records its requests, answers late, and fails when told to. */
async function disk(seed = 1) {
  const bytes = createRandom(seed).bytes(SLICE * SLICES)
  const memory = openMemory(bytes.slice())
  const log: string[] = []
  const control = { failWrites: 0, failReads: 0, failFlushes: 0 }
  /** Reads, as `offset+bytes`. */
  const reads: string[] = []
  const fail = (): never => {
    throw new BlockError('EIO', 'told to fail')
  }
  let gate: Promise<void> | undefined
  const ops: NodeOps = {
    size: () => memory.size,
    async read(offset, into) {
      reads.push(`${offset}+${into.length}`)
      // The bytes are those at the time of the request.
      await memory.read(offset, into)
      await gate
      if (control.failReads-- > 0) fail()
    },
    async write(offset, from) {
      if (control.failWrites-- > 0) fail()
      await memory.write(offset, from)
      log.push(`write ${offset}+${from.length}`)
    },
    async flush() {
      if (control.failFlushes-- > 0) fail()
      log.push('flush')
    },
  }
  const file = edgeTo(nodeOf(ops))
  const cache = (options: Partial<TableCacheOptions> = {}): TableCache =>
    new TableCache({
      file,
      sliceSize: SLICE,
      capacity: 4,
      events: { load: 'l2_load', update: 'l2_update' },
      flushData: async () => {
        log.push('flush data')
      },
      ...options,
    })
  const hold = (): (() => void) => {
    let open!: () => void
    gate = new Promise((resolve) => (open = resolve))
    return () => {
      gate = undefined
      open()
    }
  }
  const on = async (offset: number): Promise<number> => {
    const into = new Uint8Array(1)
    await memory.read(offset, into)
    return into[0]!
  }
  return { bytes, memory, log, reads, control, cache, hold, on }
}

/** Changes one byte of a slice. */
async function put(cache: TableCache, at: number, value: number): Promise<void> {
  const offset = at - (at % SLICE)
  for (;;) {
    const table = cache.peek(offset)
    if (table) {
      table.bytes[at % SLICE] = value
      cache.changed(table, at % SLICE, (at % SLICE) + 1)
      return
    }
    await cache.load(offset)
  }
}

async function get(cache: TableCache, at: number): Promise<number> {
  for (;;) {
    const table = cache.peek(at - (at % SLICE))
    if (table) return table.bytes[at % SLICE]!
    await cache.load(at - (at % SLICE))
  }
}

describe('a table cache', () => {
  test.each([1, 2, 3, 4, 5, 6])(
    'seed %i: loads, changes, drops and write-backs give what an array gives',
    async (seed) => {
      const random = createRandom(seed)
      const { bytes, memory, control, cache: make } = await disk(seed)
      const cache = make({ capacity: random.int(2, 6) })
      const model = bytes.slice()
      const durable = bytes.slice()
      for (let step = 0; step < 400; step++) {
        const at = random.int(0, model.length)
        const kind = random.int(0, 20)
        if (kind < 9) {
          const value = random.int(0, 256)
          await put(cache, at, value)
          model[at] = value
        } else if (kind < 15) {
          // Concurrent readers see the same values.
          const indexes = [at, ...Array.from({ length: 5 }, () => random.int(0, model.length))]
          const seen = await Promise.all(indexes.map((index) => get(cache, index)))
          expect(seen).toEqual(indexes.map((index) => model[index]))
        } else if (kind < 16) {
          const start = at - (at % SLICE)
          cache.drop(start, SLICE)
          model.set(durable.subarray(start, start + SLICE), start)
        } else if (kind < 17) cache.dropUnused()
        else if (kind < 18) {
          control.failWrites = 1
          await cache.writeBack().catch(() => undefined)
          control.failWrites = 0
          await memory.read(0, durable)
        } else {
          await cache.writeBack()
          expect(cache.isDirty).toBe(false)
          durable.set(model)
        }
      }
      await cache.writeBack()
      const after = new Uint8Array(model.length)
      await memory.read(0, after)
      expect(Buffer.compare(after, model)).toBe(0)
    },
  )

  test('writes the sectors that changed, in the order of their offsets', async () => {
    const { log, cache: make } = await disk()
    const cache = make()
    await put(cache, 5 * SLICE + 600, 1)
    await put(cache, 100, 2)
    await put(cache, 2 * SLICE + 511, 3)
    await put(cache, 2 * SLICE + 512, 4)
    await cache.writeBack()
    expect(log).toEqual(['write 0+512', `write ${2 * SLICE}+1024`, `write ${5 * SLICE + 512}+512`])
    await cache.writeBack()
    expect(log).toHaveLength(3)
  })

  test('writes what it follows first, with a flush in between, once', async () => {
    const { log, cache: make } = await disk()
    const [refcounts, tables] = [make(), make()]
    await put(refcounts, 0, 1)
    await put(tables, 8 * SLICE, 1)
    await tables.follow(refcounts)
    await tables.writeBack()
    expect(log).toEqual(['write 0+512', 'flush', `write ${8 * SLICE}+512`])
    await put(tables, 8 * SLICE, 2)
    await tables.writeBack()
    expect(log).toHaveLength(4)
  })

  test('flushes the older half of a cycle at once', async () => {
    const { log, cache: make } = await disk()
    const [a, b] = [make(), make()]
    await put(a, 0, 1)
    await put(b, SLICE, 1)
    await a.follow(b)
    await b.follow(a)
    expect(log).toEqual([`write ${SLICE}+512`, 'flush', 'write 0+512'])
    await put(b, SLICE, 2)
    await b.writeBack()
    expect(log.at(-1)).toBe(`write ${SLICE}+512`)
  })

  test('flushes a cycle also where nothing waits to be written yet', async () => {
    const { log, cache: make } = await disk()
    const [a, b] = [make(), make()]
    // Written, and so clean, but not durable: the other cache must still wait for it.
    await put(b, SLICE, 1)
    await b.writeBack()
    await put(a, 0, 1)
    await b.follow(a)
    await a.follow(b)
    expect(log).toEqual([`write ${SLICE}+512`, 'write 0+512', 'flush'])
    await put(a, 0, 2)
    await put(b, SLICE, 2)
    await a.writeBack()
    expect(log.slice(3)).toEqual([`write ${SLICE}+512`, 'flush', 'write 0+512'])
  })

  test('waits for data where it was told to, and only when it has something to write', async () => {
    const { log, cache: make } = await disk()
    const cache = make()
    cache.followData()
    await cache.writeBack()
    expect(log).toEqual([])
    await put(cache, 0, 1)
    await cache.writeBack()
    expect(log).toEqual(['flush data', 'write 0+512'])
  })

  test('keeps what could not be written, and the order it was to be written in', async () => {
    const { log, control, on, cache: make } = await disk()
    const [refcounts, tables] = [make(), make()]
    await put(refcounts, 0, 1)
    await put(tables, SLICE, 1)
    await tables.follow(refcounts)
    tables.followData()
    control.failWrites = 1
    await expect(tables.writeBack()).rejects.toMatchObject({ code: 'EIO' })
    expect([refcounts.isDirty, tables.isDirty, log]).toEqual([true, true, []])
    control.failFlushes = 1
    await expect(tables.writeBack()).rejects.toMatchObject({ code: 'EIO' })
    expect(tables.isDirty).toBe(true)
    await tables.writeBack()
    expect(log).toEqual(['write 0+512', 'flush', 'flush data', `write ${SLICE}+512`])
    expect([await on(0), await on(SLICE)]).toEqual([1, 1])
  })

  test('keeps clean slices within its capacity, and dirty ones whatever it is', async () => {
    const { cache: make } = await disk()
    const cache = make({ capacity: 3 })
    for (let i = 0; i < 10; i++) {
      await put(cache, i * SLICE, i)
      expect([cache.isCrowded, cache.isFull]).toEqual([i >= 1, i >= 2])
    }
    for (let i = 0; i < 10; i++) expect(cache.peek(i * SLICE)?.bytes[0]).toBe(i)
    await cache.writeBack()
    expect(cache.isFull).toBe(false)
    const present = Array.from({ length: 10 }, (_, i) => cache.peek(i * SLICE)).filter(Boolean)
    expect(present).toHaveLength(3)
  })

  test('does not take in what was dropped while it was being loaded, even when it is loaded anew', async () => {
    const { memory, hold, cache: make } = await disk()
    const cache = make()
    const open = hold()
    const first = cache.load(0)
    await Promise.resolve()
    cache.drop(0, SLICE)
    await memory.write(0, new Uint8Array(SLICE).fill(9))
    const second = cache.load(0)
    open()
    await Promise.all([first, second])
    expect(await get(cache, 5)).toBe(9)
  })

  test('reads once for all callers that ask at once, and again after a failure', async () => {
    const { control, bytes, cache: make } = await disk()
    const cache = make()
    control.failReads = 1
    const results = await Promise.allSettled([cache.load(0), cache.load(0)])
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    expect(await get(cache, 0)).toBe(bytes[0])
  })

  test('asks before it writes, and writes nothing when that is refused', async () => {
    const { log, cache: make } = await disk()
    const asked: number[] = []
    const cache = make({
      beforeWrite: (offset) => {
        asked.push(offset)
        return offset === 0 ? undefined : Promise.reject(new BlockError('EIO', 'not there'))
      },
    })
    await put(cache, 0, 1)
    await put(cache, SLICE, 1)
    await expect(cache.writeBack()).rejects.toMatchObject({ message: 'not there' })
    expect([asked, log, cache.isDirty]).toEqual([[0, SLICE], ['write 0+512'], true])
  })

  test('drops what no caller touched between two calls, but nothing dirty', async () => {
    const { cache: make } = await disk()
    const cache = make()
    await get(cache, 0)
    await get(cache, SLICE)
    await put(cache, 2 * SLICE, 7)
    cache.dropUnused()
    expect(await get(cache, 0)).toBeGreaterThan(0)
    cache.dropUnused()
    expect(cache.peek(SLICE)).toBeUndefined()
    expect(cache.peek(2 * SLICE)?.bytes[0]).toBe(7)
    expect(cache.peek(0)).toBeDefined()
  })

  test('refuses changes to a slice that is no longer in it', async () => {
    const { cache: make } = await disk()
    const cache = make()
    await get(cache, 0)
    const table = cache.peek(0)!
    cache.clear()
    expect(() => cache.changed(table, 0, 1)).toThrow('after it was dropped')
  })

  test('does not wait for what is durable already, nor for what it never changed', async () => {
    const { log, cache: make } = await disk()
    const [refcounts, tables] = [make(), make()]
    await put(tables, 8 * SLICE, 1)
    await tables.follow(refcounts)
    await tables.writeBack()
    expect(log).toEqual([`write ${8 * SLICE}+512`])
    await put(refcounts, 0, 1)
    await refcounts.writeBack()
    expect(refcounts.isDurable).toBe(false)
    await put(tables, 8 * SLICE, 2)
    await tables.follow(refcounts)
    await tables.writeBack()
    expect(log.slice(1)).toEqual(['write 0+512', 'flush', `write ${8 * SLICE}+512`])
    expect(refcounts.isDurable).toBe(true)
    await put(tables, 8 * SLICE, 3)
    await tables.follow(refcounts)
    await tables.writeBack()
    expect(log).toHaveLength(5)
  })

  test('takes for durable what was written before a flush began, and only if it succeeds', async () => {
    const { control, cache: make } = await disk()
    const cache = make()
    await put(cache, 0, 1)
    await cache.writeBack()
    control.failFlushes = 1
    await expect(cache.flush()).rejects.toMatchObject({ code: 'EIO' })
    expect(cache.isDurable).toBe(false)
    const flush = cache.flush()
    await put(cache, SLICE, 1)
    await cache.writeBack()
    await flush
    expect(cache.isDurable).toBe(false)
    await cache.flush()
    expect(cache.isDurable).toBe(true)
  })

  test('reads ahead what is wanted in order, ever more, to the end of a table and into the next', async () => {
    const { bytes, reads, cache: make } = await disk()
    const cache = make({ capacity: 64, tableSize: 8 * SLICE })
    for (let i = 0; i < 8; i++) expect(await get(cache, i * SLICE)).toBe(bytes[i * SLICE])
    for (let i = 16; i < 24; i++) expect(await get(cache, i * SLICE)).toBe(bytes[i * SLICE])
    expect(reads).toEqual(['0+1024', '1024+2048', '3072+4096', '7168+1024', `${16 * SLICE}+${8 * SLICE}`])
  })

  test('reads nothing ahead for a caller that jumps, nor what it has, nor more than a part of it can hold', async () => {
    const { reads, cache: make } = await disk()
    const cache = make({ capacity: 8, tableSize: 8 * SLICE })
    for (const i of [3, 1, 6, 2, 5]) await get(cache, i * SLICE)
    expect(reads).toHaveLength(5)
    // Sequential, except for slices that are already in the cache.
    reads.length = 0
    for (let i = 8; i < 16; i++) await get(cache, i * SLICE)
    expect(reads).toEqual(['8192+1024', '9216+2048', '11264+2048', '13312+2048', '15360+1024'])
  })

  test('forgets what was read ahead of a slice that was dropped meanwhile', async () => {
    const { memory, hold, cache: make } = await disk()
    const cache = make({ capacity: 16, tableSize: 8 * SLICE })
    await get(cache, 0)
    const open = hold()
    const ahead = cache.load(SLICE)
    await Promise.resolve()
    cache.drop(2 * SLICE, SLICE)
    await memory.write(2 * SLICE, new Uint8Array(SLICE).fill(9))
    open()
    await ahead
    expect(cache.peek(2 * SLICE)).toBeUndefined()
    expect(await get(cache, 2 * SLICE)).toBe(9)
  })

  test('looks at a slice once for each time that it was of use, to find one to drop', async () => {
    const looks = async (capacity: number): Promise<number> => {
      const { cache: make } = await disk()
      const cache = make({ capacity })
      // All but two of the slices that fit are in constant use, and come first in the queue.
      const hot = Array.from({ length: capacity - 2 }, (_, i) => i * SLICE)
      let uses = 0
      for (let round = 0; round < 200; round++) {
        for (const offset of round % capacity === 0 ? hot : []) {
          await get(cache, offset)
          uses++
        }
        await get(cache, (capacity + (round % 4)) * SLICE)
        uses++
      }
      return cache.swept / uses
    }
    expect(await looks(8)).toBeLessThan(4)
    expect(await looks(20)).toBeLessThan(4)
  })

  test('looks at no dirty slice to find one to drop', async () => {
    const { cache: make } = await disk()
    const cache = make({ capacity: 4 })
    for (let i = 0; i < 20; i++) await put(cache, i * SLICE, i)
    const before = cache.swept
    for (let round = 0; round < 100; round++) await get(cache, (20 + (round % 4)) * SLICE)
    expect(cache.swept - before).toBeLessThan(5 * 100)
  })
})
