/** Where time comes from: the host's timers, or those of a test. */

/** A source of timers. */
export interface Clock {
  /** Calls `run` after so many milliseconds. @returns what calls it off */
  after(milliseconds: number, run: () => void): () => void
}

/** The longest time that timers take, in milliseconds; longer ones would come at once. */
const LONGEST = 2 ** 31 - 1

/** The timers of the host, in browsers as in Node, where none of them keeps a program alive. */
export const hostClock: Clock = {
  after(milliseconds, run) {
    const timer: unknown = setTimeout(run, Math.min(milliseconds, LONGEST))
    // A browser's timer is a number.
    if (typeof timer === 'object') (timer as { unref?(): void }).unref?.()
    return () => clearTimeout(timer as number)
  },
}
