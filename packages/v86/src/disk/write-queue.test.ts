import { describe, expect, it } from 'vitest'
import { runMicrotasks } from '../testing/slow-disk.ts'
import { type QueueTarget, type Verdict, WriteQueue } from './write-queue.ts'

/** A queue whose target records requests, and ends them on demand. */
function stage(limit = 100, longest = 16) {
  const sent: string[] = []
  const ends: { resolve(): void; reject(error: unknown): void }[] = []
  let verdict: Verdict = 'hold'
  const target: QueueTarget = {
    write: (offset, from, durable) => {
      sent.push(`${offset}:${String.fromCharCode(...from)}${durable ? '!' : ''}`)
      return new Promise((resolve, reject) => ends.push({ resolve, reject }))
    },
    discard: (offset, bytes) => {
      sent.push(`${offset}-${offset + bytes}`)
      return new Promise((resolve, reject) => ends.push({ resolve, reject }))
    },
    applied: () => undefined,
    failed: () => verdict,
  }
  const queue = new WriteQueue(target, limit, longest)
  return {
    queue,
    sent,
    write: (offset: number, text: string, durable = false) =>
      queue.write(offset, new TextEncoder().encode(text), durable),
    async end() {
      ends.shift()!.resolve()
      await runMicrotasks()
    },
    async fail(as: Verdict) {
      verdict = as
      ends.shift()!.reject(new Error('failed'))
      await runMicrotasks()
    },
  }
}

/** Tracks the state of a promise. */
function watch(promise: Promise<unknown> | undefined) {
  const state = { is: 'waits' }
  promise?.then(
    () => (state.is = 'done'),
    () => (state.is = 'failed'),
  )
  return state
}

describe('WriteQueue', () => {
  it('sends one request after the other, in the order in which they came', async () => {
    const { queue, sent, write, end } = stage()
    void write(0, 'a')
    void write(50, 'b')
    void queue.discard(0, 4, false)
    void write(0, 'c')
    expect(sent).toEqual(['0:a'])
    for (let step = 0; step < 4; step++) await end()
    expect(sent).toEqual(['0:a', '50:b', '0-4', '0:c'])
    expect(queue.isEmpty).toBe(true)
    expect(queue.bytes).toBe(0)
  })

  it('joins what goes on where the last one ended, up to the longest, and what lies inside it', async () => {
    const { queue, sent, write, end } = stage(100, 6)
    void write(0, 'first')
    void write(10, 'aa')
    void write(12, 'bb')
    void write(11, 'XY')
    void write(14, 'cc')
    void write(16, 'dd')
    expect(queue.bytes).toBe(5 + 6 + 2)
    await end()
    await end()
    await end()
    expect(sent).toEqual(['0:first', '10:aXYbcc', '16:dd'])
  })

  it('joins nothing to what has been sent, nor what must be durable to what need not', async () => {
    const { sent, write, end } = stage()
    void write(0, 'a')
    void write(1, 'b')
    void write(2, 'c', true)
    await end()
    await end()
    expect(sent).toEqual(['0:a', '1:b', '2:c!'])
  })

  it('lets writers in while there is room, and the others once there is again', async () => {
    const { queue, write, end } = stage(4, 4)
    expect(queue.hasRoomFor(100)).toBe(true)
    void write(0, 'aaaa')
    expect(queue.hasRoomFor(1)).toBe(false)
    expect(queue.room()).toBeUndefined()
    void write(10, 'bb')
    const room = watch(queue.room())
    await runMicrotasks()
    expect(room.is).toBe('waits')
    await end()
    expect(room.is).toBe('done')
  })

  it('keeps a request that failed at the head, and goes on with it', async () => {
    const { queue, sent, write, end, fail } = stage()
    void write(0, 'old')
    void write(0, 'new')
    const drained = watch(queue.drain())
    await fail('hold')
    expect(queue.isStopped).toBe(true)
    expect(drained.is).toBe('failed')
    await expect(queue.drain()).rejects.toThrow('failed')
    queue.resume()
    const again = watch(queue.drain())
    expect(sent).toEqual(['0:old', '0:old'])
    await end()
    await end()
    expect(sent).toEqual(['0:old', '0:old', '0:new'])
    expect(again.is).toBe('done')
  })

  it('drops what a caller waits for, tells the caller, and goes on', async () => {
    const { queue, sent, write, end, fail } = stage()
    const first = watch(write(0, 'a', true))
    const second = watch(write(50, 'b', true))
    await fail('drop')
    expect(first.is).toBe('failed')
    await end()
    expect(second.is).toBe('done')
    expect(sent).toEqual(['0:a!', '50:b!'])
    expect(queue.isStopped).toBe(false)
  })

  it('lets writes in that wait for room when a failure is kept, but not when it holds', async () => {
    for (const verdict of ['keep', 'hold'] as const) {
      const { queue, write, fail } = stage(4, 4)
      void write(0, 'aaaa')
      void write(10, 'bbbb')
      const room = watch(queue.room())
      await fail(verdict)
      expect(room.is).toBe(verdict === 'keep' ? 'done' : 'waits')
    }
  })

  it('knows when nothing of a range is on its way any more', async () => {
    const { queue, write, end } = stage()
    void write(0, 'aa')
    void write(10, 'bb')
    void write(1, 'cc')
    expect(queue.behind(3, 7)).toBeUndefined()
    const first = watch(queue.behind(0, 1))
    const last = watch(queue.behind(1, 1))
    await end()
    expect([first.is, last.is]).toEqual(['done', 'waits'])
    await end()
    await end()
    expect(last.is).toBe('done')
  })

  it('tells all callers when it is ended, and sends nothing more', async () => {
    const { queue, sent, write, end } = stage(1)
    void write(0, 'a')
    const durable = watch(write(50, 'b', true))
    const room = watch(queue.room())
    const drained = watch(queue.drain())
    const behind = watch(queue.behind(0, 1))
    queue.kill(new Error('over'))
    await runMicrotasks()
    expect([durable.is, room.is, drained.is, behind.is]).toEqual(['failed', 'failed', 'failed', 'done'])
    await end()
    expect(sent).toEqual(['0:a'])
    await expect(queue.drain()).rejects.toThrow('over')
  })
})
