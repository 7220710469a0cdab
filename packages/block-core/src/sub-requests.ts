/** The pieces of one request, a bounded number of them at a time. */

/** QEMU runs as many pieces of a request at once (`QCOW2_MAX_WORKERS`). */
const CONCURRENCY = 8

/**
 * Runs pieces of a request in parallel, and does not end before all of them have: the buffer they work on is
 * the caller's again then. Not p-queue, which is used elsewhere: it takes a good part of what a browser loads.
 */
export class SubRequests {
  readonly #concurrency: number
  readonly #running = new Set<Promise<void>>()
  #error: unknown
  #failed = false

  constructor(concurrency = CONCURRENCY) {
    this.#concurrency = concurrency
  }

  /** A piece has failed: no use in adding more. */
  get failed(): boolean {
    return this.#failed
  }

  /** Starts a piece as soon as there is room for it. One is added after the other. */
  async add(piece: () => Promise<void>): Promise<void> {
    if (this.#running.size >= this.#concurrency) await Promise.race(this.#running)
    if (this.#failed) return
    const running = piece()
      .catch((error: unknown) => {
        if (!this.#failed) this.#error = error
        this.#failed = true
      })
      .then(() => {
        this.#running.delete(running)
      })
    this.#running.add(running)
  }

  /**
   * Runs `plan`, which adds the pieces, and resolves when it and every piece have ended.
   *
   * @throws what the first failure threw
   */
  async run(plan: () => Promise<void>): Promise<void> {
    try {
      await plan()
    } finally {
      await Promise.all(this.#running)
    }
    if (this.#failed) throw this.#error
  }
}

/**
 * Goes over a request of `bytes` bytes, a part at a time: `step` starts the part at `done`, or does it, and says
 * how long it is. Resolves when every part has ended.
 *
 * @throws what the first failure threw
 */
export async function inParts(
  bytes: number,
  step: (done: number, parts: SubRequests) => Promise<number>,
): Promise<void> {
  const parts = new SubRequests()
  await parts.run(async () => {
    for (let done = 0; done < bytes && !parts.failed; ) done += await step(done, parts)
  })
}
