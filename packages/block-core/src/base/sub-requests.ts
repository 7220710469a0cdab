/** Runs the pieces of one request, a bounded number at a time. */

/** Most pieces of a request at once, as in QEMU (`QCOW2_MAX_WORKERS`). */
const CONCURRENCY = 8

/**
 * Runs pieces of a request in parallel, and ends only after all of them, because the caller may then reuse
 * the buffer. Not p-queue, which is used elsewhere: it would be a large part of what a browser loads.
 */
export class SubRequests {
  readonly #concurrency: number
  readonly #running = new Set<Promise<void>>()
  #error: unknown
  #failed = false

  constructor(concurrency = CONCURRENCY) {
    this.#concurrency = concurrency
  }

  /** Whether a piece has failed: then adding more is useless. */
  get failed(): boolean {
    return this.#failed
  }

  /** Starts a piece as soon as fewer than the limit are running. Calls must not overlap. */
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
 * Handles a request of `bytes` bytes in parts: `step` starts, or completes, the part at `done`, and returns
 * its length. Resolves when every part has ended.
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
