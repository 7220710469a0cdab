/**
 * Linux AIO for all files of the process: requests that come together go to the kernel in one call, and one read of
 * an eventfd in the thread pool tells of all that have ended. A hand-over to a thread for each of them, as the pool
 * makes it, costs five times as much of the processor.
 */
import type { HostAio, HostAioQueue } from './host-calls.ts'

/** Requests in the kernel at once; more wait. */
const SLOTS = 128

/** Who asks. */
export interface AioOwner {
  /** Then what has not gone to the kernel is not to go. */
  readonly isStopped: boolean
  /**
   * How long the kernel kept this thread for each request of a batch, in microseconds: it waits for the disk where a
   * write needs space that the file does not have yet.
   */
  took(operation: AioRequest['operation'], us: number): void
}

/** One request. Offset in bytes. */
export interface AioRequest {
  readonly owner: AioOwner
  readonly operation: 'read' | 'write'
  readonly fd: number
  /** Aligned, and of memory that does not move. */
  readonly memory: Uint8Array
  readonly offset: number
  /**
   * Called once it is over: how many bytes were moved, which may be fewer than asked for, or why none. NotTaken and
   * NotSent, or what the host says, with the errno's name as its `code`.
   */
  ended(error: Error | undefined, bytes: number): void
}

/** Why a request did not go to the kernel: it may be made in another way. */
export class NotTaken extends Error {}

/** What a request meets whose owner was stopped before it went. */
export class NotSent extends Error {}

/** Requests to the kernel that do not wait for the disk. */
export class AioQueue {
  readonly #queue: HostAioQueue
  readonly #free: number[]
  readonly #waiting: AioRequest[] = []
  /** In slots, by slot: prepared, or in the kernel. What they refer to must not be collected. */
  readonly #taken: (AioRequest | undefined)[] = []
  /** Slots that are prepared, in the order of their requests. */
  #prepared: number[] = []
  #inKernel = 0
  #isScheduled = false
  #isWatching = false
  /** Told when nobody waits for the kernel any more. */
  #unwatched: (() => void) | undefined

  readonly #now: () => number

  /**
   * @param now milliseconds
   * @throws what the host says that has no queue to give
   */
  constructor(aio: HostAio, { slots = SLOTS, now = () => performance.now() } = {}) {
    this.#queue = aio.open(slots)
    this.#now = now
    this.#free = Array.from({ length: slots }, (_, index) => slots - 1 - index)
  }

  /** Makes a request. */
  run(request: AioRequest): void {
    this.#waiting.push(request)
    if (this.#isScheduled) return
    this.#isScheduled = true
    // Those that answers led to come in the same turn: they shall go in one call.
    queueMicrotask(() => {
      this.#isScheduled = false
      this.#send()
    })
  }

  /** Gives back what it took of the system. No request may be under way, nor come. */
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
        // Room comes with the end of what is there.
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

  /** Once for each owner of a batch and each kind of request. */
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

  /** What the kernel had no room for may have lost its owner meanwhile. */
  #dropStopped(): void {
    if (!this.#prepared.some((slot) => this.#taken[slot]!.owner.isStopped)) return
    this.#prepared = this.#prepared.filter((slot) => {
      const isStopped = this.#taken[slot]!.owner.isStopped
      if (isStopped) this.#end(slot).ended(new NotSent('the file was closed'), 0)
      return !isStopped
    })
  }

  /** The kernel does not want the first of the prepared ones. */
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

  /** Waits for ends while there is something in the kernel. */
  #watch(): void {
    if (this.#isWatching) return
    this.#isWatching = true
    this.#queue.wait(() => this.#look())
  }

  /**
   * Where some have ended, others have by the next turn of the event loop: then looking again is cheaper than having a
   * thread wait. Where none has, the disk is slow.
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

  /** @returns whether there was something */
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
