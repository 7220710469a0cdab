/** Frees memory of table caches that were not used for a while (`cache-clean-interval`). */
import type { TableCache } from '@vmblock/block-core/driver'

/** The longest delay of a timer, in milliseconds; a longer one would fire at once. */
const LONGEST = 2 ** 31 - 1

/** A timer that does not keep the program alive. */
export class CacheCleaner {
  #timer: ReturnType<typeof setInterval> | undefined

  /** Starts dropping, every `seconds`, slices that were not used since the last time; 0: never. */
  start(seconds: number, caches: () => readonly TableCache[]): void {
    this.stop()
    if (seconds === 0) return
    const timer: unknown = setInterval(
      () => {
        for (const cache of caches()) cache.dropUnused()
      },
      Math.min(seconds * 1000, LONGEST),
    )
    this.#timer = timer as ReturnType<typeof setInterval>
    // Only Node.js timers keep a program alive.
    if (typeof timer === 'object' && timer !== null && 'unref' in timer) (timer as { unref(): void }).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}
