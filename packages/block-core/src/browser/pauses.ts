/** Interruptible pauses between attempts. */

/** Pauses that can all be ended at once. */
export class Pauses {
  readonly #ends = new Set<() => void>()

  /** Resolves after `milliseconds`, or with {@link endAll}. */
  wait(milliseconds: number): Promise<void> {
    return new Promise((resolve) => {
      const end = (): void => {
        clearTimeout(timer)
        this.#ends.delete(end)
        resolve()
      }
      const timer = setTimeout(end, milliseconds)
      this.#ends.add(end)
    })
  }

  /** Ends all current pauses. */
  endAll(): void {
    for (const end of [...this.#ends]) end()
  }
}
