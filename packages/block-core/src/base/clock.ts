/** Time as drivers use it: a monotonic clock with timers, which a test replaces by one that it turns itself. */

/** A monotonic clock. */
export interface Clock {
  /** Milliseconds since some moment. */
  now(): number
  /** Calls `run` once after `milliseconds`. @returns prevents that; without effect afterwards */
  after(milliseconds: number, run: () => void): () => void
}

/** Longest timer of the platform, in milliseconds. */
const LONGEST = 2 ** 30

/** The clock of the platform. A timer that has not run keeps a program alive. */
export const systemClock: Clock = {
  now: () => performance.now(),
  after(milliseconds, run) {
    const due = performance.now() + milliseconds
    let timer: ReturnType<typeof setTimeout>
    const wait = (): void => {
      const left = due - performance.now()
      timer = left > LONGEST ? setTimeout(wait, LONGEST) : setTimeout(run, left)
    }
    wait()
    return () => clearTimeout(timer)
  },
}
