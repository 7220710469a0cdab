/** How much of what was written is durable, and the timer that sees to the rest. */
import type { Clock } from './clock.ts'

/** Milliseconds: the longest pause between barriers that fail. */
const LONGEST_PAUSE = 60_000

/** Counts requests that change the disk: those that were taken, and those that a barrier has covered. */
export class Barrier {
  readonly #interval: number
  readonly #clock: Clock
  readonly #run: () => Promise<void>
  #taken = 0
  #durable = 0
  #failed = 0
  #cancel: (() => void) | undefined

  /** @param interval milliseconds from the first request that is not durable to `run`; 0: never */
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

  /** A request was taken. @returns whether it is the first that is not durable */
  took(): boolean {
    const wasDirty = this.isDirty
    this.#taken++
    return !wasDirty
  }

  /** The first `count` requests are durable. @returns whether all are, which before were not */
  covered(count: number): boolean {
    this.#failed = 0
    const wasDirty = this.isDirty
    this.#durable = Math.max(this.#durable, count)
    if (this.isDirty) return false
    this.stop()
    return wasDirty
  }

  /** There will be a barrier, if there is something for it. One that failed is tried again, less and less often. */
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
