import { describe, expect, it } from 'vitest'
import { FlushQueue } from './flush-queue.ts'

/** A disk whose flushes end when the test says so. */
function slowDisk() {
  const running: { end(): void; fail(): void }[] = []
  const state = { flushes: 0 }
  const queue = new FlushQueue(() => {
    state.flushes++
    return new Promise((resolve, reject) =>
      running.push({ end: resolve, fail: () => reject(new Error('no')) }),
    )
  })
  return { queue, running, state }
}

describe('coalesced flushes', () => {
  it('issue nothing when nothing was written', async () => {
    const { queue, state } = slowDisk()
    await queue.flush()
    expect(queue.idle).toBe(true)
    expect(state.flushes).toBe(0)
  })

  it('share one flush while nothing new is written', async () => {
    const { queue, running, state } = slowDisk()
    queue.wrote()
    const flushes = [queue.flush(), queue.flush(), queue.flush()]
    running[0]!.end()
    await Promise.all(flushes)
    await queue.flush()
    expect(state.flushes).toBe(1)
    expect(queue.idle).toBe(true)
  })

  it('share the next one when something was written after the first began', async () => {
    const { queue, running, state } = slowDisk()
    queue.wrote()
    const first = queue.flush()
    queue.wrote()
    let late = 0
    const next = [queue.flush(), queue.flush()].map((flush) => flush.then(() => late++))
    expect(state.flushes).toBe(1)
    running[0]!.end()
    await first
    expect(late).toBe(0)
    await Promise.resolve()
    expect(state.flushes).toBe(2)
    running[1]!.end()
    await Promise.all(next)
    expect(queue.idle).toBe(true)
  })

  it('do not start a second one between the end of a flush and the start of the next', async () => {
    const { queue, running, state } = slowDisk()
    queue.wrote()
    const third = queue.flush().then(() => queue.flush())
    queue.wrote()
    const second = queue.flush()
    running[0]!.end()
    for (let i = 0; i < 20; i++) await Promise.resolve()
    for (const flush of running) flush.end()
    await Promise.all([second, third])
    expect(state.flushes).toBe(2)
    expect(queue.idle).toBe(true)
  })

  it('do not count what was written while they ran as durable', async () => {
    const { queue, running } = slowDisk()
    queue.wrote()
    const flush = queue.flush()
    queue.wrote()
    running[0]!.end()
    await flush
    expect(queue.idle).toBe(false)
  })

  it('that fail leave everything to the next', async () => {
    const { queue, running, state } = slowDisk()
    queue.wrote()
    const first = queue.flush()
    queue.wrote()
    const second = queue.flush()
    running[0]!.fail()
    await expect(first).rejects.toThrow('no')
    await Promise.resolve()
    running[1]!.fail()
    await expect(second).rejects.toThrow('no')
    expect(queue.idle).toBe(false)
    const third = queue.flush()
    running[2]!.end()
    await third
    expect(state.flushes).toBe(3)
    expect(queue.idle).toBe(true)
  })

  it('wait for the writes that will ask for one, too, and cover them', async () => {
    const { queue, running, state } = slowDisk()
    for (let i = 0; i < 3; i++) queue.expect()
    const ended = [0, 1, 2].map(async (i) => {
      for (let turns = 0; turns < 10 * i; turns++) await Promise.resolve()
      queue.wrote()
      queue.arrived()
      await queue.flush()
    })
    expect(state.flushes).toBe(0)
    for (let i = 0; i < 100; i++) await Promise.resolve()
    expect(state.flushes).toBe(1)
    running[0]!.end()
    await Promise.all(ended)
    expect([state.flushes, queue.idle]).toEqual([1, true])
  })

  it('wait no longer than for a turn of the event loop', async () => {
    const { queue, running, state } = slowDisk()
    queue.expect()
    queue.expect()
    queue.wrote()
    queue.arrived()
    const first = queue.flush()
    for (let i = 0; i < 100; i++) await Promise.resolve()
    expect(state.flushes).toBe(0)
    await new Promise((resolve) => setImmediate(resolve))
    expect(state.flushes).toBe(1)
    // The other write ends only now, and was not covered.
    queue.wrote()
    queue.arrived()
    const second = queue.flush()
    running[0]!.end()
    await first
    for (let i = 0; i < 10; i++) await Promise.resolve()
    running[1]!.end()
    await second
    expect([state.flushes, queue.idle]).toEqual([2, true])
  })

  it('begin at once where no other write is under way', () => {
    const { queue, state } = slowDisk()
    queue.expect()
    queue.wrote()
    queue.arrived()
    void queue.flush()
    expect(state.flushes).toBe(1)
  })

  it('of thousands of writes at once are one', async () => {
    const { queue, running, state } = slowDisk()
    const writes = 5000
    for (let i = 0; i < writes; i++) queue.expect()
    const ends = Array.from({ length: writes }, () => {
      queue.wrote()
      queue.arrived()
      return queue.flush()
    })
    // All of them wait for the same flush.
    expect(new Set(ends).size).toBe(1)
    await Promise.resolve()
    await Promise.resolve()
    await new Promise((resolve) => setImmediate(resolve))
    running[0]!.end()
    await Promise.all(ends)
    expect(state.flushes).toBe(1)
  })
})
