/**
 * One request and its response, which end when nothing has arrived for a while, or on demand, even if the
 * server, `fetch` or its replacement ignores the abort signal.
 */

/** The longest timer, in milliseconds: timers take less than 2^31. */
const LONGEST = 2 ** 30

/** One request and its response: see the head of this file. */
export class Exchange {
  readonly #controller = new AbortController()
  readonly #silence: number
  readonly #silent: () => unknown
  readonly #ended: Promise<never>
  #reject!: (reason: unknown) => void
  #response: Response | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  /** Time of the last sign of life, on a monotonic clock. */
  #heard = performance.now()

  /**
   * @param silence milliseconds without a byte after which the exchange ends
   * @param silent makes the error it then ends with
   */
  constructor(silence: number, silent: () => unknown) {
    this.#silence = silence
    this.#silent = silent
    this.#ended = new Promise((_, reject) => (this.#reject = reject))
    this.#ended.catch(() => undefined)
    this.#wait(silence)
  }

  /** The signal to pass to `fetch`, which need not honor it. */
  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** Waits for the response. @throws the error of `fetch`, or the reason passed to {@link end} */
  async answer(promise: Promise<Response>): Promise<Response> {
    // A response that arrives too late is discarded.
    promise.then(
      (late) => this.signal.aborted && letGo(late),
      () => undefined,
    )
    this.#response = await Promise.race([promise, this.#ended])
    this.#heard = performance.now()
    return this.#response
  }

  /** Yields the body in pieces. @throws the error of reading it, or the reason passed to {@link end} */
  async *body(response: Response): AsyncGenerator<Uint8Array, void, undefined> {
    const reader = response.body?.getReader()
    if (!reader) return
    try {
      for (;;) {
        const { done, value } = await Promise.race([reader.read(), this.#ended])
        this.#heard = performance.now()
        if (done) return
        yield value
      }
    } finally {
      // Not awaited: it may wait for the server.
      void reader.cancel().catch(() => undefined)
    }
  }

  /** Stops the timer: everything wanted of the response has arrived. */
  done(): void {
    clearTimeout(this.#timer)
  }

  /** Ends the exchange now: pending calls reject with `reason`; the rest of the response is discarded. */
  end(reason: unknown): void {
    this.done()
    this.#reject(reason)
    this.#controller.abort()
    if (this.#response && !this.#response.body?.locked) letGo(this.#response)
  }

  #wait(milliseconds: number): void {
    // The timer keeps this object alive: if it were garbage-collected, the exchange would never end.
    this.#timer = setTimeout(
      () => {
        const left = this.#silence - (performance.now() - this.#heard)
        if (left > 0) this.#wait(left)
        else this.end(this.#silent())
      },
      Math.min(Math.ceil(milliseconds), LONGEST),
    )
  }
}

/** Discards the rest of a response. */
function letGo(response: Response): void {
  void response.body?.cancel().catch(() => undefined)
}
