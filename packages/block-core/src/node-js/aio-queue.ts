/**
 * Linux AIO for all files of the process: concurrent requests go to the kernel in one call, and one read of
 * an eventfd in the thread pool reports all that have ended. Handing each of them to a thread of the pool
 * costs five times the processor time.
 */
import type { HostAio, HostAioQueue } from './host-calls.ts'

/** Requests in the kernel at once; further ones wait. */
const SLOTS = 128

/** The file that makes requests. */
export interface AioOwner {
  /** If true, requests not yet in the kernel are not submitted. */
  readonly isStopped: boolean
  /**
   * Reports how long submitting blocked this thread for each request of a batch, in microseconds: the kernel
   * waits for the disk if a write needs space that the file does not have yet.
   */
  took(operation: AioRequest['operation'], us: number): void
}

/** One request. Offset in bytes. */
export interface AioRequest {
  readonly owner: AioOwner
  readonly operation: 'read' | 'write'
  readonly fd: number
  /** Aligned, in memory that does not move. */
  readonly memory: Uint8Array
  readonly offset: number
  /**
   * Called when the request has ended, with the number of bytes moved, which may be fewer than requested, or
   * with an error: NotTaken, NotSent, or the host's error with the errno's name as its `code`.
   */
  ended(error: Error | undefined, bytes: number): void
}

/** The kernel did not take the request: it may be made in another way. */
export class NotTaken extends Error {}

/** The request's owner was stopped before the request was submitted. */
export class NotSent extends Error {}

/** A queue of requests to the kernel, which run without blocking a thread. */
export class AioQueue {
  readonly #queue: HostAioQueue
  readonly #free: number[]
  readonly #waiting: AioRequest[] = []
  /** Requests by slot, prepared or in the kernel. Keeps their memory from being garbage-collected. */
  readonly #taken: (AioRequest | undefined)[] = []
  /** Prepared slots, in the order of their requests. */
  #prepared: number[] = []
  #inKernel = 0
  #isScheduled = false
  #isWatching = false
  /** Called when this no longer waits for the kernel. */
  #unwatched: (() => void) | undefined

  readonly #now: () => number

  /**
   * @param now milliseconds
   * @throws the host's error if it has no queue to give
   */
  constructor(aio: HostAio, { slots = SLOTS, now = () => performance.now() } = {}) {
    this.#queue = aio.open(slots)
    this.#now = now
    this.#free = Array.from({ length: slots }, (_, index) => slots - 1 - index)
  }

  /** Submits a request. */
  run(request: AioRequest): void {
    this.#waiting.push(request)
    if (this.#isScheduled) return
    this.#isScheduled = true
    // Requests caused by completions arrive in the same turn, and should go in one call.
    queueMicrotask(() => {
      this.#isScheduled = false
      this.#send()
    })
  }

  /** Releases the kernel's queue. No request may be in flight, and none may follow. */
  async close(): Promise<void> {
    if (this.#isWatching) await new Promise<void>((resolve) => (this.#unwatched = resolve))
    await this.#queue.close()
  }

  #send(): void {
    this.#prepare()
    while (this.#prepared.length > 0) {
      const start = this.#now()
      let taken: number
      try {
        taken = this.#queue.submit(this.#prepared)
      } catch (error) {
        // There will be room when a request in the kernel ends.
        if ((error as { code?: unknown }).code === 'EAGAIN' && this.#inKernel > 0) break
        this.#refuse(error as Error)
        continue
      }
      const us = ((this.#now() - start) * 1000) / taken
      this.#inKernel += taken
      this.#tell(this.#prepared.splice(0, taken), us)
    }
    if (this.#inKernel > 0) this.#watch()
  }

  /** Reports the time once for each owner in a batch and each operation. */
  #tell(slots: readonly number[], us: number): void {
    const told: Record<AioRequest['operation'], Set<AioOwner>> = { read: new Set(), write: new Set() }
    for (const slot of slots) {
      const { owner, operation } = this.#taken[slot]!
      if (told[operation].has(owner)) continue
      told[operation].add(owner)
      owner.took(operation, us)
    }
  }

  #prepare(): void {
    while (this.#waiting.length > 0 && this.#free.length > 0) {
      const request = this.#waiting.shift()!
      if (request.owner.isStopped) {
        request.ended(new NotSent('the file was closed'), 0)
        continue
      }
      const slot = this.#free.pop()!
      this.#taken[slot] = request
      this.#prepared.push(slot)
      const { operation, fd, memory, offset } = request
      this.#queue.prepare(slot, operation, fd, memory, offset)
    }
    this.#dropStopped()
  }

  /** Drops requests that the kernel had no room for and whose owner was stopped meanwhile. */
  #dropStopped(): void {
    if (!this.#prepared.some((slot) => this.#taken[slot]!.owner.isStopped)) return
    this.#prepared = this.#prepared.filter((slot) => {
      const isStopped = this.#taken[slot]!.owner.isStopped
      if (isStopped) this.#end(slot).ended(new NotSent('the file was closed'), 0)
      return !isStopped
    })
  }

  /** Ends the first prepared request, which the kernel refused. */
  #refuse(cause: Error): void {
    const slot = this.#prepared.shift()!
    this.#end(slot).ended(new NotTaken(cause.message, { cause }), 0)
  }

  #end(slot: number): AioRequest {
    const request = this.#taken[slot]!
    this.#taken[slot] = undefined
    this.#free.push(slot)
    return request
  }

  /** Waits for completions while requests are in the kernel. */
  #watch(): void {
    if (this.#isWatching) return
    this.#isWatching = true
    this.#queue.wait(() => this.#look())
  }

  /**
   * Reaps completions. If there were some, there will be more by the next turn of the event loop: looking
   * again is cheaper than letting a thread wait. If there were none, the disk is slow.
   */
  #look(): void {
    const found = this.#reap()
    if (this.#waiting.length > 0 || this.#prepared.length > 0) this.#send()
    if (found) {
      setImmediate(() => this.#look())
      return
    }
    this.#isWatching = false
    if (this.#inKernel > 0) this.#watch()
    else this.#unwatched?.()
  }

  /** @returns whether any request had ended */
  #reap(): boolean {
    const before = this.#inKernel
    this.#queue.reap((slot, result) => {
      this.#inKernel--
      const request = this.#end(slot)
      if (result >= 0) request.ended(undefined, result)
      else request.ended(this.#queue.errorOf(result), 0)
    })
    return this.#inKernel < before
  }
}
