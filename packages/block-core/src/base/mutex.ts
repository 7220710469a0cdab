/**
 * Runs bodies one at a time, in the order of the calls. Ten lines, and ten times as fast as a queue: a body
 * that has nothing to wait for costs no promise at all.
 */
export class Mutex {
  #tail: Promise<unknown> | undefined

  /** Whether a body runs or waits. While it is false, synchronous code may act as if it held the lock. */
  get locked(): boolean {
    return this.#tail !== undefined
  }

  /**
   * Runs `body` once all earlier bodies have ended; a body that throws does not block the next.
   *
   * @returns what `body` returns: synchronously, if the lock is free and the result is not a promise
   */
  run<T>(body: () => Promise<T>): Promise<T>
  run<T>(body: () => T | Promise<T>): T | Promise<T>
  run<T>(body: () => T | Promise<T>): T | Promise<T> {
    const result = this.#tail === undefined ? body() : this.#tail.then(body)
    if (!(result instanceof Promise)) return result
    const tail: Promise<unknown> = result.then(
      () => this.#release(tail),
      () => this.#release(tail),
    )
    this.#tail = tail
    return result
  }

  #release(tail: Promise<unknown>): void {
    if (this.#tail === tail) this.#tail = undefined
  }
}
