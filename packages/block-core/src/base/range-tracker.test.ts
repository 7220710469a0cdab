import { describe, expect, it } from 'vitest'
import { createRandom } from '../testing/random.ts'
import { type HeldRange, RangeTracker } from './range-tracker.ts'

/** Starts requests that end when the test says so; `log` lists those that began. */
function bench() {
  const tracker = new RangeTracker()
  const log: string[] = []
  const start = (name: string, from: number, bytes: number, exclusive: boolean) => {
    let end!: () => void
    const held = new Promise<void>((resolve) => (end = resolve))
    const done = tracker.run(from, bytes, exclusive, () => {
      log.push(name)
      return held
    })
    return { end, done }
  }
  const runMicrotasks = async () => {
    for (let i = 0; i < 20; i++) await Promise.resolve()
  }
  return { tracker, log, start, runMicrotasks }
}

describe('a range tracker', () => {
  it('lets requests pass that are not exclusive, or touch nothing in common', async () => {
    const { log, start, runMicrotasks } = bench()
    start('a', 0, 10, false)
    start('b', 5, 10, false)
    start('c', 15, 5, true)
    start('d', 20, 5, true)
    await runMicrotasks()
    expect(log).toEqual(['a', 'b', 'c', 'd'])
  })

  it('makes an exclusive request wait for what runs, and holds others back while it runs', async () => {
    const { log, start, runMicrotasks } = bench()
    const a = start('a', 0, 10, false)
    const b = start('b', 9, 10, true)
    await runMicrotasks()
    expect(log).toEqual(['a'])
    a.end()
    await runMicrotasks()
    expect(log).toEqual(['a', 'b'])
    const c = start('c', 0, 10, false)
    const d = start('d', 0, 5, true)
    const e = start('e', 18, 2, false)
    await runMicrotasks()
    // 'd' overlaps only 'c', which is itself waiting.
    expect(log).toEqual(['a', 'b', 'd'])
    b.end()
    await runMicrotasks()
    expect(log).toEqual(['a', 'b', 'd', 'e'])
    d.end()
    await runMicrotasks()
    expect(log).toEqual(['a', 'b', 'd', 'e', 'c'])
    c.end()
    e.end()
    await Promise.all([a, b, c, d, e].map((request) => request.done))
  })

  it('never makes a request wait for one that waits itself', async () => {
    const { log, start, runMicrotasks } = bench()
    const a = start('a', 0, 10, true)
    const b = start('b', 5, 10, true)
    const c = start('c', 12, 2, true)
    await runMicrotasks()
    expect(log).toEqual(['a', 'c'])
    a.end()
    await runMicrotasks()
    expect(log).toEqual(['a', 'c'])
    c.end()
    await runMicrotasks()
    expect(log).toEqual(['a', 'c', 'b'])
    b.end()
    await Promise.all([a, b, c].map((request) => request.done))
  })

  it('forgets requests that fail', async () => {
    const { tracker } = bench()
    await expect(tracker.run(0, 10, true, () => Promise.reject(new Error('no')))).rejects.toThrow('no')
    expect(tracker.isHeld(0, 10)).toBe(false)
    expect(await tracker.run(0, 10, true, async () => 7)).toBe(7)
  })

  it('tells which requests would have to wait', async () => {
    const { tracker, start } = bench()
    const a = start('a', 10, 10, true)
    start('b', 30, 10, false)
    expect([
      tracker.isHeld(0, 10),
      tracker.isHeld(0, 11),
      tracker.isHeld(19, 1),
      tracker.isHeld(30, 1),
    ]).toEqual([false, true, true, false])
    a.end()
    await a.done
    expect(tracker.isHeld(10, 10)).toBe(false)
  })

  it('serves many requests for the same range in order, each at the same cost', async () => {
    const compared = async (count: number): Promise<number> => {
      const { tracker, log, start } = bench()
      const all = Array.from({ length: count }, (_, i) => start(String(i), 0, 512, true))
      const before = tracker.compared
      for (const [i, { end, done }] of all.entries()) {
        expect(log.length).toBe(i + 1)
        end()
        await done
      }
      expect(log).toEqual(all.map((_, i) => String(i)))
      return (tracker.compared - before) / count
    }
    expect(await compared(2000)).toBeLessThanOrEqual(2)
  })

  it('makes requests that came together wait for each other only where they meet', async () => {
    const { log, start, runMicrotasks } = bench()
    const a = start('a', 0, 100, true)
    const others = [
      start('b', 0, 10, true),
      start('c', 20, 10, true),
      start('d', 0, 10, true),
      start('e', 5, 20, false),
      start('f', 24, 2, false),
    ]
    a.end()
    await runMicrotasks()
    expect(log).toEqual(['a', 'b', 'c'])
    others[0]!.end()
    await runMicrotasks()
    expect(log).toEqual(['a', 'b', 'c', 'd'])
    others[1]!.end()
    await runMicrotasks()
    expect(log).toEqual(['a', 'b', 'c', 'd', 'f'])
    others[2]!.end()
    await runMicrotasks()
    expect(log).toEqual(['a', 'b', 'c', 'd', 'f', 'e'])
    for (const { end } of others) end()
    await Promise.all(others.map(({ done }) => done))
  })

  it('finds the same conflicts as a look at all ranges, for ranges of every length', async () => {
    const random = createRandom(5)
    const tracker = new RangeTracker()
    const held: HeldRange[] = []
    const lengths = [0, 1, 512, 65536, 2 ** 20, 3 * 2 ** 20, 2 ** 25, Number.MAX_SAFE_INTEGER / 2]
    for (let step = 0; step < 5000; step++) {
      if (held.length > 0 && random.chance(0.4)) {
        const [range] = held.splice(random.int(0, held.length), 1)
        tracker.release(range!)
        continue
      }
      const start = random.int(0, 200) * 2 ** random.int(10, 22)
      const bytes = random.pick(lengths)
      const exclusive = random.chance(0.5)
      const end = start + bytes
      const meets = held.some(
        (other) => (exclusive || other.exclusive) && other.start < end && start < other.end,
      )
      const range = tracker.tryHold(start, bytes, exclusive)
      expect(range === undefined, `step ${step}`).toBe(meets)
      if (range) held.push(range)
    }
  })

  it('tells waiting requests when the range is released, whichever takes it then', async () => {
    const tracker = new RangeTracker()
    const held = tracker.tryHold(0, 10, true)!
    let free = false
    const waits = tracker.whenReleased(5, 1, false).then(() => (free = true))
    await Promise.resolve()
    expect(free).toBe(false)
    tracker.release(held)
    await waits
    await held.over()
    await tracker.whenReleased(5, 1, true)
    expect(free).toBe(true)
  })

  it('compares a request with its neighbours alone, however many there are elsewhere', () => {
    const compared = (count: number): number => {
      const tracker = new RangeTracker()
      for (let i = 0; i < count; i++) tracker.tryHold(i * 2 ** 17, 2 ** 16, true)
      return tracker.compared
    }
    expect(compared(8000)).toBeLessThan(8.5 * 8000)
    // The next power of ten costs ten times as much, not a hundred times.
    expect(compared(80_000)).toBeLessThan(10.5 * compared(8000))
  })
})
