import { describe, expect, it } from 'vitest'
import { RangeTracker } from './range-tracker.ts'

/** Starts requests whose ends the test decides; `log` tells which began. */
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
  const settle = async () => {
    for (let i = 0; i < 20; i++) await Promise.resolve()
  }
  return { tracker, log, start, settle }
}

describe('a range tracker', () => {
  it('lets requests pass that are not exclusive, or touch nothing in common', async () => {
    const { log, start, settle } = bench()
    start('a', 0, 10, false)
    start('b', 5, 10, false)
    start('c', 15, 5, true)
    start('d', 20, 5, true)
    await settle()
    expect(log).toEqual(['a', 'b', 'c', 'd'])
  })

  it('makes an exclusive request wait for what runs, and holds others back while it runs', async () => {
    const { log, start, settle } = bench()
    const a = start('a', 0, 10, false)
    const b = start('b', 9, 10, true)
    await settle()
    expect(log).toEqual(['a'])
    a.end()
    await settle()
    expect(log).toEqual(['a', 'b'])
    const c = start('c', 0, 10, false)
    const d = start('d', 0, 5, true)
    const e = start('e', 18, 2, false)
    await settle()
    // 'd' meets only 'c', which itself waits.
    expect(log).toEqual(['a', 'b', 'd'])
    b.end()
    await settle()
    expect(log).toEqual(['a', 'b', 'd', 'e'])
    d.end()
    await settle()
    expect(log).toEqual(['a', 'b', 'd', 'e', 'c'])
    c.end()
    e.end()
    await Promise.all([a, b, c, d, e].map((request) => request.done))
  })

  it('never makes anybody wait for a request that waits itself', async () => {
    const { log, start, settle } = bench()
    const a = start('a', 0, 10, true)
    const b = start('b', 5, 10, true)
    const c = start('c', 12, 2, true)
    await settle()
    expect(log).toEqual(['a', 'c'])
    a.end()
    await settle()
    expect(log).toEqual(['a', 'c'])
    c.end()
    await settle()
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

  it('tells who would have to wait', async () => {
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
})
