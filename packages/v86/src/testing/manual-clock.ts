/** Time that stands still until a test moves it. */
import type { Clock } from '../disk/clock.ts'

/** A clock that tests advance by hand. */
export class ManualClock implements Clock {
  #now = 0
  readonly #timers = new Set<{ readonly at: number; readonly run: () => void }>()

  after(milliseconds: number, run: () => void): () => void {
    const timer = { at: this.#now + milliseconds, run }
    this.#timers.add(timer)
    return () => this.#timers.delete(timer)
  }

  get isEmpty(): boolean {
    return this.#timers.size === 0
  }

  /** Advances the time, and runs the timers that are due, in order. */
  advance(milliseconds: number): void {
    this.#now += milliseconds
    const due = [...this.#timers].filter(({ at }) => at <= this.#now).sort((a, b) => a.at - b.at)
    for (const timer of due) if (this.#timers.delete(timer)) timer.run()
  }
}
