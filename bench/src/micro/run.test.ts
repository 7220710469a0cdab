/** All hot functions are timed, and compared with earlier results. */
import { expect, test, vi } from 'vitest'
import { compareMicros, microTable, selectMicros, timeMicro } from './run.ts'

const result = (name: string, median: number) => ({ name, median, mad: 1, p99: median * 2, samples: 10 })

test('more than before is above 1, and what is new has nothing to be compared with', () => {
  const now = [result('a', 30), result('b', 5), result('c', 1)]
  const before = [result('b', 10), result('a', 20)]
  expect([...compareMicros(now, before)]).toEqual([
    ['a', 1.5],
    ['b', 0.5],
  ])
  expect(microTable(now, before)).toMatch(/\| a +\| +30 \| +1 \| +60 \| +1\.5 \|/)
})

test('words select', () => {
  expect(selectMicros(['mutex']).map(({ name }) => name)).toEqual(['mutex, free', 'mutex, 8 in a row'])
  expect(new Set(selectMicros([]).map(({ name }) => name)).size).toBe(selectMicros([]).length)
})

test('time is that of one operation, though batches are timed', async () => {
  // A clock that advances by a millisecond whenever it is read.
  let now = 0
  vi.spyOn(performance, 'now').mockImplementation(() => now++)
  let calls = 0
  const prepare = async () => () => {
    calls++
  }
  const { median, mad, samples } = await timeMicro({ name: 'nothing', batch: 100, prepare }, true)
  expect(median).toBeCloseTo(1e6 / 100)
  expect(mad).toBeCloseTo(0)
  expect(calls).toBeGreaterThanOrEqual(samples)
  vi.restoreAllMocks()
})

test.each(selectMicros([]).map((micro) => [micro.name, micro] as const))('%s', async (_, { prepare }) => {
  const run = await prepare()
  await run()
  await run()
})
