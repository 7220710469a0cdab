/**
 * One request and its answer, which end when nothing has come for a while, or when they are told to: whatever becomes of
 * the server, of the signal of `fetch`, or of what makes the requests in its place.
 */

/** Milliseconds: timers take no more than 2^31. */
const LONGEST = 2 ** 30

/** See the head of this file. */
export class Exchange {
  readonly #controller = new AbortController()
  readonly #silence: number
  readonly #silent: () => unknown
  readonly #ended: Promise<never>
  #reject!: (reason: unknown) => void
  #response: Response | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  /** By a clock that nobody sets. */
  #heard = performance.now()

  /**
   * @param silence milliseconds without a byte after which it ends
   * @param silent what it ends with then
   */
  constructor(silence: number, silent: () => unknown) {
    this.#silence = silence
    this.#silent = silent
    this.#ended = new Promise((_, reject) => (this.#reject = reject))
    this.#ended.catch(() => undefined)
    this.#wait(silence)
  }

  /** For `fetch`. What it does about it is not relied on. */
  get signal(): AbortSignal {
    return this.#controller.signal
  }

  /** The answer. @throws what `fetch` does, or what this was ended with */
  async answer(promise: Promise<Response>): Promise<Response> {
    // What comes too late is let go.
    promise.then(
      (late) => this.signal.aborted && letGo(late),
      () => undefined,
    )
    this.#response = await Promise.race([promise, this.#ended])
    this.#heard = performance.now()
    return this.#response
  }

  /** The body of the answer, piece by piece. @throws what reading it does, or what this was ended with */
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

  /** All that is wanted of the answer is there. */
  done(): void {
    clearTimeout(this.#timer)
  }

  /** Ends it now, with that reason for those who wait; what the server still sends is refused. */
  end(reason: unknown): void {
    this.done()
    this.#reject(reason)
    this.#controller.abort()
    if (this.#response && !this.#response.body?.locked) letGo(this.#response)
  }

  #wait(milliseconds: number): void {
    // The timer holds this object: nothing else might, and what the garbage collector takes never ends.
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

/** Reads no more of an answer. */
function letGo(response: Response): void {
  void response.body?.cancel().catch(() => undefined)
}
