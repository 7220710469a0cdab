/** A worker that holds a file and does not answer: calls that wait for it still end. */
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { OpfsCall, OpfsReady, OpfsReply } from './opfs-messages.ts'
import { openRemote } from './opfs-remote.ts'

const REQUEST = { path: 'disk', readOnly: false, create: false, lockTimeout: 2000 }

/** A worker that answers only the given kinds of calls. */
class Stage {
  readonly asked: string[] = []
  isTerminated = false
  readonly #answers: ReadonlySet<string>
  #tell: ((event: { data: OpfsReply | OpfsReady }) => void) | undefined

  constructor(...answers: OpfsCall['kind'][]) {
    this.#answers = new Set(answers)
  }
  addEventListener(type: string, listener: (event: { data: OpfsReply | OpfsReady }) => void): void {
    if (type !== 'message') return
    this.#tell = listener
    // Its script was loaded; it just does not answer.
    queueMicrotask(() => listener({ data: { ready: true } }))
  }
  postMessage(call: OpfsCall): void {
    this.asked.push(call.kind)
    if (this.#answers.has(call.kind)) queueMicrotask(() => this.#tell?.({ data: { ok: true, size: 10 } }))
  }
  terminate(): void {
    this.isTerminated = true
  }
  open() {
    return openRemote(REQUEST, () => this as unknown as Worker)
  }
}

/** Tracks the state of a promise. */
function watch(promise: Promise<unknown>): { state: string } {
  const watched = { state: 'waiting' }
  promise.then(
    () => (watched.state = 'done'),
    (error: { code: string }) => (watched.state = error.code),
  )
  return watched
}

describe('a worker that does not answer', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  it('when a file is opened, is given up after the wait for the lock and 30 seconds', async () => {
    const worker = new Stage()
    const opening = watch(worker.open())
    await vi.advanceTimersByTimeAsync(31_900)
    expect(opening.state).toBe('waiting')
    await vi.advanceTimersByTimeAsync(200)
    expect(opening.state).toBe('ETIMEDOUT')
    expect(worker.isTerminated).toBe(true)
  })

  it('is waited for while the file is used, and for 30 seconds once it is being closed', async () => {
    const worker = new Stage('open')
    const file = await worker.open()
    const flushing = watch(file.flush())
    await vi.advanceTimersByTimeAsync(600_000)
    expect(flushing.state).toBe('waiting')
    file.setPatience?.('limited')
    await vi.advanceTimersByTimeAsync(29_900)
    expect(flushing.state).toBe('waiting')
    await vi.advanceTimersByTimeAsync(200)
    expect(flushing.state).toBe('ETIMEDOUT')
    expect(worker.isTerminated).toBe(true)
    await expect(file.close()).rejects.toMatchObject({ code: 'ETIMEDOUT' })
  })

  it('is given up after 2 seconds when the node crashes', async () => {
    const worker = new Stage('open')
    const file = await worker.open()
    const reading = watch(file.read(0, new Uint8Array(1)))
    const crashing = watch(file.abandon())
    await vi.advanceTimersByTimeAsync(2100)
    expect([reading.state, crashing.state]).toEqual(['ETIMEDOUT', 'done'])
    expect(worker.isTerminated).toBe(true)
  })

  it('leaves no timer behind', async () => {
    const worker = new Stage('open', 'flush', 'close')
    const file = await worker.open()
    await file.flush()
    await file.close()
    expect(worker.asked).toEqual(['open', 'flush', 'close'])
    expect(vi.getTimerCount()).toBe(0)
  })
})
