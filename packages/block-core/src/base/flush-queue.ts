/**
 * Coalesced flushes. If nothing was written since the last flush, a flush issues nothing; flushes requested
 * while one runs share the next one (group commit), because only that one is sure to cover their writes.
 * Writes that will request a flush announce themselves, so that the flush of the first to end can wait for
 * the others.
 */
import { nextTurn } from './event-loop.ts'

const DONE = Promise.resolve()

/** Decides when a node's driver has to flush. */
export class FlushQueue {
  readonly #flush: () => Promise<void>
  /** Counts completed writes; a flush covers those counted when it starts. */
  #written = 0
  #durable = 0
  #running: { readonly covers: number; readonly done: Promise<void> } | undefined
  #next: Promise<void> | undefined
  /** Writes in flight that will request a flush. */
  #expected = 0
  #allArrived: (() => void) | undefined

  constructor(flush: () => Promise<void>) {
    this.#flush = flush
  }

  /** A write has ended, successfully or not: the next flush has work to do. */
  wrote(): void {
    this.#written++
  }

  /** A write begins. When it has ended, its caller will call {@link arrived}, and then {@link flush}. */
  expect(): void {
    this.#expected++
  }

  /** An expected write has ended, successfully or not. */
  arrived(): void {
    this.#expected--
    if (this.#expected === 0) this.#allArrived?.()
  }

  /** Whether a flush would issue nothing. */
  get idle(): boolean {
    return this.#written === this.#durable
  }

  /** Resolves when everything written before the call is durable. */
  flush(): Promise<void> {
    if (this.#written === this.#durable) return DONE
    const running = this.#running
    // Between the end of one flush and the start of the next, that next one covers everything.
    if (!running) return this.#next ?? (this.#expected > 0 ? this.#gather() : this.#start())
    if (running.covers === this.#written) return running.done
    this.#next ??= running.done.then(
      () => this.#startNext(),
      () => this.#startNext(),
    )
    return this.#next
  }

  /**
   * A flush that also covers the expected writes. It begins when all of them have ended, but waits for one
   * turn of the event loop at most: a write that takes longer can use the next flush.
   */
  #gather(): Promise<void> {
    const gathered = new Promise<void>((resolve) => {
      this.#allArrived = resolve
    })
    this.#next = Promise.race([gathered, nextTurn()]).then(() => this.#startNext())
    return this.#next
  }

  #startNext(): Promise<void> {
    this.#next = undefined
    this.#allArrived = undefined
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
