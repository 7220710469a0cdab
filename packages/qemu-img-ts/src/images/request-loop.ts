/**
 * Sends many equal requests, with a number of them in flight, for `bench`. The loop itself must cost next to
 * nothing, so it is a counter and one callback.
 */

/** The requests to send. */
export interface RequestPlan {
  /** Requests in all. */
  readonly count: number
  /** Requests in flight, at least 1. */
  readonly depth: number
  /** Bytes: the offset of the first request, and the distance to the next. */
  readonly offset: number
  readonly step: number
  /** Bytes at which offsets wrap around: the size of the disk. */
  readonly wrap: number
  /** Number of requests after which a flush is sent; 0: no flushes. */
  readonly flushInterval: number
  /** Whether a flush waits for the requests in flight, and later requests wait for the flush. */
  readonly drains: boolean
}

/** The target of the requests. */
export interface RequestTarget {
  send(offset: number): Promise<void>
  flush(): Promise<void>
}

/** A flush failed that no request waited for. Its `cause` is the error. */
export class FlushFailure extends Error {
  override readonly name = 'FlushFailure'
}

/** One run of requests. */
export class RequestLoop {
  readonly #plan: RequestPlan
  readonly #target: RequestTarget
  /** Requests that have not ended yet. */
  #left: number
  #inFlight = 0
  #next: number
  readonly #flushes = new Set<Promise<void>>()
  #failure: unknown
  #resolve: () => void = () => {}
  #reject: (error: unknown) => void = () => {}

  constructor(plan: RequestPlan, target: RequestTarget) {
    this.#plan = plan
    this.#target = target
    this.#left = plan.count
    this.#next = plan.offset
  }

  /**
   * Sends all requests, and resolves when the last one has ended.
   *
   * @throws FlushFailure, or the error of the first request that failed
   */
  run(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
      if (this.#left === 0) resolve()
      else this.#fill()
    })
  }

  /**
   * Resolves when no flush is in flight: as in QEMU, run does not wait for the last. @throws as {@link run}
   */
  async flushed(): Promise<void> {
    await Promise.all(this.#flushes)
    if (this.#failure !== undefined) throw this.#failure
  }

  readonly #done = (): void => {
    // After a failure nothing more is sent.
    if (this.#left === 0) return
    const { flushInterval, drains } = this.#plan
    const unsent = this.#left - this.#inFlight
    this.#inFlight--
    if (--this.#left === 0) this.#resolve()
    if (flushInterval === 0 || unsent % flushInterval !== 0) this.#fill()
    else if (!drains) {
      void this.#flush((error) => new FlushFailure('flush failed', { cause: error }))
      this.#fill()
    } else if (this.#inFlight === 0) void this.#flush((error) => error).then(() => this.#fill())
  }

  readonly #fail = (error: unknown): void => {
    this.#left = 0
    this.#failure ??= error
    this.#reject(error)
  }

  #fill(): void {
    const { depth, step, wrap } = this.#plan
    while (this.#left > this.#inFlight && this.#inFlight < depth) {
      const offset = this.#next
      this.#inFlight++
      this.#next = wrap === 0 ? 0 : (offset + step) % wrap
      this.#target.send(offset).then(this.#done, this.#fail)
    }
  }

  #flush(describe: (error: unknown) => unknown): Promise<void> {
    const flush = this.#target
      .flush()
      .catch((error: unknown) => this.#fail(describe(error)))
      .finally(() => this.#flushes.delete(flush))
    this.#flushes.add(flush)
    return flush
  }
}
