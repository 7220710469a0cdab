/** Medians and spreads of known numbers. */
import { expect, test } from 'vitest'
import { ratios, summarize } from './statistics.ts'

test('median, quartiles and median absolute deviation, whatever the order', () => {
  expect(summarize([100, 1, 4, 2, 3])).toEqual({ median: 3, q1: 2, q3: 4, mad: 1, count: 5 })
  expect(summarize([4, 1, 3, 2])).toEqual({ median: 2.5, q1: 1.75, q3: 3.25, mad: 1, count: 4 })
  expect(summarize([7])).toEqual({ median: 7, q1: 7, q3: 7, mad: 0, count: 1 })
})

test('what was not measured does not count', () => {
  expect(summarize([])).toBeUndefined()
  expect(summarize([Number.NaN, Number.POSITIVE_INFINITY])).toBeUndefined()
  expect(summarize([Number.NaN, 5])?.median).toBe(5)
})

test('ratios are those of the rounds, not the ratio of the medians', () => {
  // A busy round slows both sides down, and leaves their ratio unchanged.
  expect(ratios([10, 100, 12], [5, 50, 6])).toEqual({ median: 2, q1: 2, q3: 2, mad: 0, count: 3 })
  expect(ratios([1, 8, 9], [1, 2, 3])?.median).toBe(3)
})

test('a pair without two positive numbers has no ratio', () => {
  expect(ratios([4, 0, 6], [2, 3, 0])).toMatchObject({ median: 2, count: 1 })
  expect(ratios([4], [])).toBeUndefined()
  expect(ratios([-1], [2])).toBeUndefined()
})
