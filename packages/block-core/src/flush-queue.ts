/**
 * Coalesced flushes. A flush with nothing written since the last one issues nothing; flushes asked for while
 * one runs share the next one (group commit), because only that one is sure to cover what they wrote. Writes that
 * will each ask for a flush announce themselves, so that the first of them to end can let the others come along.
 */
import { nextTurn } from './drivers/event-loop.ts'

const DONE = Promise.resolve()

/** Decides when a node's driver has to flush. */
export class FlushQueue {
  readonly #flush: () => Promise<void>
  /** Counts completed writes; the number at the start of a flush is what the flush covers. */
  #written = 0
  #durable = 0
  #running: { readonly covers: number; readonly done: Promise<void> } | undefined
  #next: Promise<void> | undefined
  /** Writes under way that will ask for a flush. */
  #expected = 0
  #allArrived: (() => void) | undefined

  constructor(flush: () => Promise<void>) {
    this.#flush = flush
  }

  /** A write has ended, well or badly: the next flush has something to do. */
  wrote(): void {
    this.#written++
  }

  /** A write begins whose caller will call {@link arrived} when it has ended, and then {@link flush}. */
  expect(): void {
    this.#expected++
  }

  /** A write that was expected has ended, well or badly. */
  arrived(): void {
    this.#expected--
    if (this.#expected === 0) this.#allArrived?.()
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
    if (!running) return this.#next ?? (this.#expected > 0 ? this.#gather() : this.#start())
    if (running.covers === this.#written) return running.done
    this.#next ??= running.done.then(
      () => this.#startNext(),
      () => this.#startNext(),
    )
    return this.#next
  }

  /**
   * A flush of what is expected, too. It begins when all of that has come; or when the event loop has turned, since
   * who waits for the host may wait for long, and can have the next.
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
