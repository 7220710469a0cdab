/** Spreads work over time, by a monotonic clock. */
import type { AbortSignalLike } from './platform-types.ts'

/** Limits the bytes per second. */
export class RateLimit {
  readonly #rate: number
  readonly #start = performance.now()
  #bytes = 0

  /** @param rate bytes per second */
  constructor(rate: number) {
    this.#rate = rate
  }

  /** Resolves when `bytes` more bytes may pass, or at once when `signal` is aborted. */
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

/** Longest timer, in milliseconds: timers are limited to 2^31. */
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
