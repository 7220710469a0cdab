/** Timers: those of the host, or those of a test. */

/** A source of timers. */
export interface Clock {
  /** Calls `run` after `milliseconds`. @returns a function that cancels it */
  after(milliseconds: number, run: () => void): () => void
}

/** The longest timer, in milliseconds; longer ones would fire at once. */
const LONGEST = 2 ** 31 - 1

/** The timers of browsers and Node.js; in Node.js they do not keep the program alive. */
export const hostClock: Clock = {
  after(milliseconds, run) {
    const timer: unknown = setTimeout(run, Math.min(milliseconds, LONGEST))
    // A browser's timer is a number.
    if (typeof timer === 'object') (timer as { unref?(): void }).unref?.()
    return () => clearTimeout(timer as number)
  },
}
