/** A rate is kept even if the system clock is changed. */
import { afterEach, beforeEach, expect, it, vi } from 'vitest'
import { RateLimit } from './rate-limit.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

it.each([-600_000, 0, 600_000])('is kept when the clock is set by %i ms', async (shift) => {
  const limit = new RateLimit(1000)
  const done: number[] = []
  const start = performance.now()
  const taking = (async () => {
    for (let i = 0; i < 4; i++) {
      await limit.take(1000)
      done.push(performance.now() - start)
    }
  })()
  await vi.advanceTimersByTimeAsync(500)
  vi.setSystemTime(Date.now() + shift)
  await vi.advanceTimersByTimeAsync(2600)
  await taking
  expect(done).toEqual([0, 1000, 2000, 3000])
})
