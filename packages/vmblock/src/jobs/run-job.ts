/** How long operations are watched and ended: one form of progress, and one signal, for all of them. */
import { type AbortSignalLike, Job, type JobControl } from '@vmblock/block-core'

/** How far an operation is. */
export interface Progress {
  /** Bytes, or tables of a check. */
  readonly done: number
  /** In the same unit. An estimate, which may grow: the disk may be in use. */
  readonly total: number
  /** `done` of `total`, from 0 to 1. */
  readonly fraction: number
}

/** How an operation is watched. */
export interface JobSettings {
  /** Called as often as something has been done. What it throws ends the operation, and is its error. */
  readonly onProgress?: ((progress: Progress) => void) | undefined
  /** Ends the operation early, which then rejects with the reason of the signal. */
  readonly signal?: AbortSignalLike | undefined
}

/**
 * Runs an operation of the core with these settings.
 *
 * @throws the signal's reason once it is aborted; what the operation throws
 */
export const runJob = <T>(
  operation: (control: JobControl) => Promise<T>,
  { onProgress, signal }: JobSettings,
): Promise<T> =>
  new Job(operation, {
    signal,
    onProgress: onProgress && ((done, total) => onProgress(progressOf(done, total))),
  }).done

/** Nothing to do is done at once. */
const progressOf = (done: number, total: number): Progress => ({
  done,
  total,
  fraction: total === 0 ? 1 : Math.min(done / total, 1),
})
