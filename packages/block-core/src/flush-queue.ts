/**
 * Coalesced flushes. A flush with nothing written since the last one issues nothing; flushes asked for while
 * one runs share the next one (group commit), because only that one is sure to cover what they wrote.
 */

const DONE = Promise.resolve()

/** Decides when a node's driver has to flush. */
export class FlushQueue {
  readonly #flush: () => Promise<void>
  /** Counts completed writes; the number at the start of a flush is what the flush covers. */
  #written = 0
  #durable = 0
  #running: { readonly covers: number; readonly done: Promise<void> } | undefined
  #next: Promise<void> | undefined

  constructor(flush: () => Promise<void>) {
    this.#flush = flush
  }

  /** A write has ended, well or badly: the next flush has something to do. */
  wrote(): void {
    this.#written++
  }

  /** Whether a flush would issue nothing. */
  get idle(): boolean {
    return this.#written === this.#durable
  }

  /** Resolves when everything that was written before the call is durable. */
  flush(): Promise<void> {
    if (this.#written === this.#durable) return DONE
    const running = this.#running
    // Between the end of one flush and the start of the next, the next is still to come and covers everything.
    if (!running) return this.#next ?? this.#start()
    if (running.covers === this.#written) return running.done
    this.#next ??= running.done.then(
      () => this.#startNext(),
      () => this.#startNext(),
    )
    return this.#next
  }

  #startNext(): Promise<void> {
    this.#next = undefined
    return this.#start()
  }

  #start(): Promise<void> {
    const covers = this.#written
    const done = this.#flush().then(
      () => {
        this.#durable = Math.max(this.#durable, covers)
        this.#running = undefined
      },
      (error: unknown) => {
        this.#running = undefined
        throw error
      },
    )
    this.#running = { covers, done }
    return done
  }
}
