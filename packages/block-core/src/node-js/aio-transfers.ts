/** Complete reads and writes by Linux AIO, built from requests that may move less or be refused. */

import { CacheMeter } from './adaptive-engine.ts'
import { type AioQueue, NotSent, NotTaken } from './aio-queue.ts'
import { fromHostError } from './host-error.ts'
import { noProgress, stopped, type ThreadEngine } from './io-engine.ts'

/** Bytes of one request at most; Linux stops at 2 GiB less a page. */
const LONGEST = 2 ** 30

/**
 * Scales the limit of {@link CacheMeter} (25 us) for submissions: handing over a request takes a few
 * microseconds, waiting for a disk more than a hundred. Times in between come from a busy processor.
 */
const PATIENCE = 4

/** The requests of one file. Requests that the kernel does not take go to the pool. */
export class AioTransfers {
  readonly #queue: AioQueue
  readonly #pool: ThreadEngine
  readonly #meters = { read: new CacheMeter(), write: new CacheMeter() }
  readonly #owner = {
    isStopped: false,
    took: (operation: 'read' | 'write', us: number): void => this.#meters[operation].took(us / PATIENCE, 0),
  }
  #running = 0
  #wake: (() => void)[] = []

  constructor(queue: AioQueue, pool: ThreadEngine) {
    this.#queue = queue
    this.#pool = pool
  }

  /** Like {@link ThreadEngine.readUntilEnd}. */
  readUntilEnd(
    fd: number,
    into: Uint8Array,
    offset: number,
    isEnd: (done: number) => boolean,
  ): Promise<number> {
    return this.#move('read', fd, into, offset, isEnd, (rest, at, done) =>
      this.#pool.readUntilEnd(fd, rest, at, (more) => isEnd(done + more)),
    )
  }

  /** Writes all of `from`. */
  async pwrite(fd: number, from: Uint8Array, offset: number): Promise<void> {
    const done = await this.#move('write', fd, from, offset, undefined, (rest, at) =>
      this.#pool.pwrite(fd, rest, at).then(() => rest.length),
    )
    if (done < from.length) throw noProgress()
  }

  /** Submits nothing more; resolves when the kernel holds no request of this file. */
  async stop(): Promise<void> {
    this.#owner.isStopped = true
    while (this.#running > 0) await new Promise<void>((resolve) => this.#wake.push(resolve))
  }

  /**
   * Repeats requests until everything is moved, a request moves nothing, or `isEnd` says that the file has no
   * more. One promise for all of them.
   *
   * @param otherwise moves the rest if the kernel does not take it
   * @returns bytes moved
   */
  #move(
    operation: 'read' | 'write',
    fd: number,
    memory: Uint8Array,
    offset: number,
    isEnd: ((done: number) => boolean) | undefined,
    otherwise: (rest: Uint8Array, at: number, done: number) => Promise<number>,
  ): Promise<number> {
    const owner = this.#owner
    if (owner.isStopped) return Promise.reject(stopped())
    // A lone request is answered sooner by a thread that waits for it.
    const isAlone = this.#running === 0 && this.#pool.running === 0
    if (isAlone || !this.#meters[operation].tryNow()) return otherwise(memory, offset, 0)
    const { length } = memory
    return new Promise((resolve, reject) => {
      let done = 0
      const ended = (error: Error | undefined, count: number): void => {
        done += count
        if (error instanceof NotTaken)
          resolve(otherwise(memory.subarray(done), offset + done, done).then((more) => done + more))
        else if (error instanceof NotSent) reject(stopped())
        else if (error)
          reject(fromHostError(error, operation === 'read' ? 'Could not read' : 'Could not write'))
        else if (done === length || count === 0 || isEnd?.(done)) resolve(done)
        else {
          next()
          return
        }
        this.#ended()
      }
      const next = (): void => {
        const isWhole = done === 0 && length <= LONGEST
        const piece = isWhole ? memory : memory.subarray(done, done + LONGEST)
        this.#queue.run({ owner, operation, fd, memory: piece, offset: offset + done, ended })
      }
      this.#running++
      next()
    })
  }

  #ended(): void {
    this.#running--
    if (this.#running === 0) for (const wake of this.#wake.splice(0)) wake()
  }
}
