/**
 * A job: an operation that takes long (copy, commit, check, amend, one of an application), to hold on to while it
 * runs. The operation itself is a function that takes a {@link JobControl}, so one class serves them all.
 */
import { requireCallback, requireOptions, requireSignal } from '../base/arguments.ts'
import { BlockError } from '../base/errors.ts'
import type { AbortSignalLike } from '../base/platform-types.ts'
import type { JobControl } from '../contract/job-control.ts'

/**
 * How far a job is, in units of its operation: bytes of a copy, tables of a check. `total` is an estimate, and 0 until
 * the first report.
 */
export interface JobProgress {
  readonly done: number
  readonly total: number
}

/** How a job runs. */
export interface JobOptions {
  /** Cancels the job when aborted; its reason is what {@link Job.done} rejects with. */
  readonly signal?: AbortSignalLike | undefined
  /** Called with each report of the operation. If it throws, the operation fails. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

const OPTIONS = { signal: requireSignal, onProgress: requireCallback }

/** From a call of `pause` to the end of the pause. */
interface Pause {
  /** Resolves when the job stands still, or the pause is over. */
  readonly still: Promise<void>
  readonly over: Promise<void>
  standStill(): void
  end(): void
}

function newPause(): Pause {
  let standStill!: () => void
  let resume!: () => void
  const still = new Promise<void>((resolve) => (standStill = resolve))
  const over = new Promise<void>((resolve) => (resume = resolve))
  const end = (): void => {
    standStill()
    resume()
  }
  return { still, over, standStill, end }
}

/**
 * Runs an operation: `new Job((control) => commitNode(top, {}, control))`. It begins in the next microtask.
 *
 * As in QEMU, a job runs, is paused, or has ended; ended jobs ignore every call.
 */
export class Job<T> {
  /**
   * The result of the operation, or its error. Once the job is cancelled every error counts as the cancellation, and
   * rejects with its reason; an operation that ends well all the same has its result. An error that is not looked at
   * is no unhandled rejection.
   */
  readonly done: Promise<T>
  readonly #abort = new AbortController()
  #progress: JobProgress = { done: 0, total: 0 }
  #pause: Pause | undefined
  #hasEnded = false

  /** @throws BlockError EINVAL for arguments of other types */
  constructor(operation: (control: JobControl) => Promise<T>, options: JobOptions = {}) {
    requireCallback(operation, 'operation')
    requireOptions(options, 'options', OPTIONS)
    this.done = this.#run(operation, options)
    this.done.catch(() => undefined)
  }

  get progress(): JobProgress {
    return this.#progress
  }

  /** Whether the job is to stand still; until {@link pause} resolves, it may still be finishing a piece. */
  get isPaused(): boolean {
    return this.#pause !== undefined
  }

  /**
   * Lets the job stand still after the pieces that it has begun. It keeps what it holds: of a node that is checked or
   * amended all requests wait, of one that is committed the writes.
   *
   * Resolves when the job has no request in flight; also when the pause is over before that, and when the job ends.
   */
  pause(): Promise<void> {
    if (this.#hasEnded) return Promise.resolve()
    this.#pause ??= newPause()
    return this.#pause.still
  }

  /** Ends a pause. */
  resume(): void {
    this.#pause?.end()
    this.#pause = undefined
  }

  /**
   * Stops the job for good after the pieces that it has begun, paused or not. What it leaves is said at its operation.
   *
   * @param reason what {@link done} rejects with; default: BlockError ECANCELED
   * @returns resolves when the job has ended, in whatever way
   */
  async cancel(reason: unknown = new BlockError('ECANCELED', 'Operation canceled')): Promise<void> {
    if (!this.#hasEnded) {
      this.#abort.abort(reason)
      this.resume()
    }
    await this.done.catch(() => undefined)
  }

  async #run(operation: (control: JobControl) => Promise<T>, { signal, onProgress }: JobOptions): Promise<T> {
    const cancel = (): void => void this.cancel(signal!.reason)
    signal?.addEventListener('abort', cancel)
    try {
      // The first report comes when the caller has the job.
      await undefined
      if (signal?.aborted) cancel()
      this.#abort.signal.throwIfAborted()
      return await operation({
        signal: this.#abort.signal,
        checkpoint: (drain) =>
          this.#pause || this.#abort.signal.aborted ? this.#standStill(drain) : undefined,
        report: (done, total) => {
          this.#progress = { done, total }
          onProgress?.(done, total)
        },
      })
    } catch (error) {
      // Drivers put their own words around errors.
      this.#abort.signal.throwIfAborted()
      throw error
    } finally {
      signal?.removeEventListener('abort', cancel)
      this.#hasEnded = true
      this.resume()
    }
  }

  async #standStill(drain: (() => Promise<unknown>) | undefined): Promise<void> {
    await drain?.()
    while (this.#pause && !this.#abort.signal.aborted) {
      this.#pause.standStill()
      await this.#pause.over
    }
    this.#abort.signal.throwIfAborted()
  }
}
