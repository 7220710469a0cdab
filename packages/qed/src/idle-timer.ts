/** A timer that is put off again and again, and keeps no process alive. */

/** Where time comes from; tests have their own. */
export interface QedClock {
  /** Calls `run` after so many milliseconds. @returns what calls it off */
  after(milliseconds: number, run: () => void): () => void
}

/** The clock of the host, in browsers as in Node. */
export const hostClock: QedClock = {
  after(milliseconds, run) {
    const timer: unknown = setTimeout(run, milliseconds)
    // Node would wait for it at the end of a program; a browser's timer is a number.
    if (typeof timer === 'object') (timer as { unref?(): void }).unref?.()
    return () => clearTimeout(timer as number)
  },
}

/** Runs something once nothing has happened for a while. */
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

  /** Something happened: the delay begins anew. */
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
