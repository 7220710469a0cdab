/** Spreading work over time, by a clock that nobody sets. */
import type { AbortSignalLike } from './platform-types.ts'

/** Lets so many bytes pass a second. */
export class RateLimit {
  readonly #rate: number
  readonly #start = performance.now()
  #bytes = 0

  /** @param rate bytes per second */
  constructor(rate: number) {
    this.#rate = rate
  }

  /** Resolves when so many bytes more may go, or at once when `signal` is aborted. */
  async take(bytes: number, signal?: AbortSignalLike): Promise<void> {
    const due = this.#start + (this.#bytes / this.#rate) * 1000
    this.#bytes += bytes
    while (!signal?.aborted) {
      const wait = due - performance.now()
      if (wait <= 0) return
      await pause(Math.min(wait, LONGEST), signal)
    }
  }
}

/** Milliseconds: timers take no more than 2^31. */
const LONGEST = 2 ** 30

function pause(milliseconds: number, signal: AbortSignalLike | undefined): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', end)
      resolve()
    }
    const timer = setTimeout(end, milliseconds)
    signal?.addEventListener('abort', end)
  })
}
