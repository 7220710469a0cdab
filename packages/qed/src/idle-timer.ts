/** A timer that is restarted again and again, and keeps no process alive. */

/** A source of time; tests have their own. */
export interface QedClock {
  /** Calls `run` after `milliseconds`. @returns a function that cancels the call */
  after(milliseconds: number, run: () => void): () => void
}

/** The real clock, in browsers and in Node.js. */
export const hostClock: QedClock = {
  after(milliseconds, run) {
    const timer: unknown = setTimeout(run, milliseconds)
    // Node.js would wait for it at the end of a program; a browser's timer is a number.
    if (typeof timer === 'object') (timer as { unref?(): void }).unref?.()
    return () => clearTimeout(timer as number)
  },
}

/** Runs a function when it was not restarted for a while. */
export class IdleTimer {
  readonly #clock: QedClock
  readonly #delay: number
  readonly #run: () => Promise<void>
  #cancel: (() => void) | undefined

  /** @param delay milliseconds */
  constructor(clock: QedClock, delay: number, run: () => Promise<void>) {
    this.#clock = clock
    this.#delay = delay
    this.#run = run
  }

  /** Begins the delay anew. */
  restart(): void {
    this.stop()
    this.#cancel = this.#clock.after(this.#delay, () => {
      this.#cancel = undefined
      void this.#run()
    })
  }

  stop(): void {
    this.#cancel?.()
    this.#cancel = undefined
  }
}
