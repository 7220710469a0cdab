/** So many bodies at the same time, and no more. Not p-queue, which is used elsewhere: it takes a good part of what a browser loads. */

/** Bodies start in the order of their calls. */
export class Slots {
  readonly #waiting: (() => void)[] = []
  #free: number

  constructor(count: number) {
    this.#free = count
  }

  /** Runs `body` once there is room for it. @returns what it returns; one that throws makes room, too */
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
