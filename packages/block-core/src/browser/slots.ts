/** Limits how many functions run at a time. p-queue, used elsewhere, would be much for a page to load. */

/** A fixed number of slots for running functions, which start in the order of the calls. */
export class Slots {
  readonly #waiting: (() => void)[] = []
  #free: number

  constructor(count: number) {
    this.#free = count
  }

  /** Runs `body` once a slot is free; frees the slot even if `body` throws. @returns the result of `body` */
  async run<T>(body: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    try {
      return await body()
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#free++
    }
  }
}
