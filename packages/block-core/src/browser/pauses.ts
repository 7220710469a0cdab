/** Waiting for the next attempt, which can be ended. */

/** Pauses that all end at once when nothing is to be waited for any more. */
export class Pauses {
  readonly #ends = new Set<() => void>()

  /** Resolves after so many milliseconds, or with {@link endAll}. */
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

  /** Ends the pauses of now. */
  endAll(): void {
    for (const end of [...this.#ends]) end()
  }
}
