/** The cache's requests to a slow source, and their timing. The source answers when the test says so. */
import { describe, expect, it } from 'vitest'
import { BlockError } from '../base/errors.ts'
import { expectCode, expectSame, pattern } from '../testing/contract-kit.ts'
import { type Arrival, ChunkCache } from './chunk-cache.ts'

const CHUNK = 1024
const COUNT = 64
const content = pattern(COUNT * CHUNK - 100)

interface Asked {
  readonly first: number
  readonly count: number
  readonly arrival: Arrival
  /** Lets `bytes` bytes arrive; undefined: all, which ends the fetch. */
  give(bytes?: number): void
  fail(error: unknown): void
}

/** A cache of `keeps` chunks over such a source. */
function stage(keeps: number, ahead = 0) {
  const asked: Asked[] = []
  let taken = 0
  const fetch = (offset: number, into: Uint8Array, arrival: Arrival): Promise<void> =>
    new Promise((resolve, reject) => {
      const fill = (bytes: number): void => into.set(content.subarray(offset, offset + bytes))
      asked.push({
        first: offset / CHUNK,
        count: Math.ceil(into.length / CHUNK),
        arrival,
        give(bytes) {
          fill(bytes ?? into.length)
          if (bytes === undefined) resolve()
          else arrival.arrived(bytes)
        },
        fail: reject,
      })
    })
  const cache = new ChunkCache(
    { size: content.length, fetch },
    { chunk: CHUNK, readAhead: ahead * CHUNK, capacity: keeps * CHUNK },
  )
  return {
    cache,
    /** The fetches since the last call, as `first+count`. */
    news() {
      const news = asked.slice(taken).map(({ first, count }) => `${first}+${count}`)
      taken = asked.length
      return news
    },
    asked,
    /** Reads a part of a chunk, and answers all fetches. */
    async read(chunk: number, bytes = 10) {
      const into = new Uint8Array(bytes)
      const reading = cache.read(chunk * CHUNK, into)
      for (const { give } of asked) give()
      await reading
      expectSame(into, content.subarray(chunk * CHUNK, chunk * CHUNK + bytes))
    },
  }
}

describe('what is on its way', () => {
  it.each([1, 2, 1000])('is asked for once, where %i chunks are kept', async (keeps) => {
    const { cache, asked } = stage(keeps)
    const reads: Promise<void>[] = []
    for (let reader = 0; reader < 5; reader++)
      for (let chunk = 0; chunk < 40; chunk++)
        reads.push(cache.read(chunk * CHUNK + reader, new Uint8Array(10)))
    await Promise.resolve()
    expect(asked.length).toBe(40)
    for (const { give } of asked) give()
    await Promise.all(reads)
    expect(asked.length).toBe(40)
  })

  it('is shared by requests that overlap, and only the rest is asked for', async () => {
    const { cache, asked, news } = stage(1)
    const [one, two] = [new Uint8Array(3 * CHUNK), new Uint8Array(5 * CHUNK)]
    const reads = [cache.read(2 * CHUNK, one), cache.read(CHUNK, two)]
    expect(news()).toEqual(['2+3', '1+1', '5+1'])
    for (const { give } of asked) give()
    await Promise.all(reads)
    expectSame(one, content.subarray(2 * CHUNK, 5 * CHUNK))
    expectSame(two, content.subarray(CHUNK, 6 * CHUNK))
  })

  it('and fails, fails for each reader with an error of its own, and is asked for again', async () => {
    const { cache, asked, news, read } = stage(8)
    const reads = [1, 2, 3].map((at) => cache.read(at, new Uint8Array(1)).catch((error: unknown) => error))
    asked[0]!.fail(new BlockError('EIO', 'no'))
    const errors = await Promise.all(reads)
    expect(new Set(errors).size).toBe(3)
    for (const error of errors) expect(error).toMatchObject({ code: 'EIO', message: 'no' })
    asked.length = 0
    news()
    await read(0)
    expect(asked.length).toBe(1)
  })

  it('arrives chunk by chunk, and what has arrived stays when the rest fails', async () => {
    const { cache, asked, read } = stage(8)
    const first = new Uint8Array(10)
    const all = expectCode(cache.read(0, new Uint8Array(4 * CHUNK)), 'EIO')
    const part = cache.read(CHUNK, first)
    asked[0]!.give(2 * CHUNK + 5)
    await part
    expectSame(first, content.subarray(CHUNK, CHUNK + 10))
    asked[0]!.fail(new BlockError('EIO', 'no'))
    await all
    await read(0)
    await read(1)
    expect(asked.length).toBe(1)
    await read(2)
    expect(asked.length).toBe(2)
  })
})

describe('reading ahead', () => {
  /** Reads chunks in sequence. @returns the fetches that each read caused */
  async function follow(keeps: number, ahead: number, chunks: number): Promise<string[][]> {
    const { read, news, asked } = stage(keeps, ahead)
    const steps: string[][] = []
    for (let chunk = 0; chunk < chunks; chunk++) {
      await read(chunk)
      // Small reads within a chunk change nothing.
      await read(chunk, 500)
      steps.push(news())
    }
    expect(asked.reduce((sum, { count }) => sum + count, 0)).toBeLessThanOrEqual(chunks + ahead)
    return steps
  }

  it('asks for the next chunks while those before are used', async () => {
    expect(await follow(100, 8, 14)).toEqual([
      ['0+1'],
      ['1+3'],
      ['4+5'],
      [],
      [],
      ['9+5'],
      [],
      [],
      [],
      ['14+4'],
      [],
      [],
      [],
      ['18+4'],
    ])
  })

  it('waits for no more than is wanted', async () => {
    const { cache, asked, read } = stage(100, 8)
    await read(0)
    const into = new Uint8Array(10)
    const reading = cache.read(CHUNK, into)
    asked[1]!.give(CHUNK)
    await reading
    expect(asked[1]).toMatchObject({ first: 1, count: 3 })
    expect(asked.length).toBe(2)
    // The next read-ahead starts after the chunks that have arrived or are in flight.
    const next = cache.read(2 * CHUNK, into)
    expect(asked[2]).toMatchObject({ first: 4, arrival: { isWanted: false } })
    asked[1]!.give()
    await next
  })

  it('does not follow readers that jump, and never drives out what is being read', async () => {
    const jumping = stage(100, 8)
    for (const chunk of [5, 20, 3, 40, 7]) await jumping.read(chunk)
    expect(jumping.news()).toEqual(['5+1', '20+1', '3+1', '40+1', '7+1'])
    expect((await follow(1, 8, 6)).flat()).toEqual(['0+1', '1+1', '2+1', '3+1', '4+1', '5+1'])
    expect((await follow(4, 8, 6)).flat()).toEqual(['0+1', '1+3', '4+1', '5+1', '6+1', '7+1'])
  })

  it('ends with the source', async () => {
    const { read, asked } = stage(100, 32)
    for (let chunk = 0; chunk < COUNT; chunk++) await read(chunk)
    expect(asked.reduce((sum, { count }) => sum + count, 0)).toBe(COUNT)
  })
})
