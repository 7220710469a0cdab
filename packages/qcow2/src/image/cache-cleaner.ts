/** Gives back memory of table caches that nobody used for a while (`cache-clean-interval`). */
import type { TableCache } from '@vmblock/block-core'

/** The longest time that timers take, in milliseconds; longer ones would come at once. */
const LONGEST = 2 ** 31 - 1

/** A timer, which a program that has nothing else to do does not wait for. */
export class CacheCleaner {
  #timer: ReturnType<typeof setInterval> | undefined

  /** From now on, every `seconds` whatever was not used in that time is dropped; 0: never. */
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
    // Only Node's timers keep a program alive.
    if (typeof timer === 'object' && timer !== null && 'unref' in timer) (timer as { unref(): void }).unref()
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }
}
