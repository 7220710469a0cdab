/** Tracks how many writes are durable, and runs the timer that flushes the rest. */
import type { Clock } from './clock.ts'

/** The longest pause between failing barriers, in milliseconds. */
const LONGEST_PAUSE = 60_000

/** Counts the requests that change the disk: accepted ones, and those that a barrier has made durable. */
export class Barrier {
  readonly #interval: number
  readonly #clock: Clock
  readonly #run: () => Promise<void>
  #taken = 0
  #durable = 0
  #failed = 0
  #cancel: (() => void) | undefined

  /** @param interval milliseconds from the first non-durable request to `run`; 0: never */
  constructor(interval: number, clock: Clock, run: () => Promise<void>) {
    this.#interval = interval
    this.#clock = clock
    this.#run = run
  }

  get taken(): number {
    return this.#taken
  }
  get isDirty(): boolean {
    return this.#taken !== this.#durable
  }

  /** Counts an accepted request. @returns whether it is the only one that is not durable yet */
  took(): boolean {
    const wasDirty = this.isDirty
    this.#taken++
    return !wasDirty
  }

  /** Marks the first `count` requests as durable. @returns whether this made the last ones durable */
  covered(count: number): boolean {
    this.#failed = 0
    const wasDirty = this.isDirty
    this.#durable = Math.max(this.#durable, count)
    if (this.isDirty) return false
    this.stop()
    return wasDirty
  }

  /** Starts the timer, if anything is not durable. Failed barriers are repeated, less and less often. */
  start(): void {
    if (this.#interval === 0 || this.#cancel || !this.isDirty) return
    const pause = Math.min(this.#interval * 2 ** this.#failed, Math.max(LONGEST_PAUSE, this.#interval))
    this.#cancel = this.#clock.after(pause, () => {
      this.#cancel = undefined
      void this.#run().then(
        () => this.start(),
        () => {
          this.#failed++
          this.start()
        },
      )
    })
  }

  stop(): void {
    this.#cancel?.()
    this.#cancel = undefined
  }
}
