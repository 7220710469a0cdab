/** What an operation that takes long is given, so that it can be paused and cancelled, and says how far it is. */
import type { AbortSignalLike } from '../base/platform-types.ts'

/**
 * The side of a job that its operation sees. `Job` makes one, and an operation passes it on to the operations that
 * it consists of. A plain object: `{ ...control, report }` is one, too, that reports otherwise.
 */
export interface JobControl {
  /** Aborted when the job is cancelled: for waits of the operation. Absent: it cannot be cancelled. */
  readonly signal?: AbortSignalLike | undefined
  /**
   * Called between two pieces of the work, where the operation may also stop for good: everything that it changes is
   * valid, on disk and in memory.
   *
   * @param drain waits for the requests that the operation has in flight here. Absent: there are none
   * @returns undefined: go on. Else a promise that resolves when the job goes on, and rejects when it is cancelled
   */
  checkpoint(drain?: () => Promise<unknown>): Promise<void> | undefined
  /**
   * Reports progress: `done` of `total` units, which the operation chooses (bytes, tables). `done` never falls;
   * `total` is an estimate, which may change.
   */
  report(done: number, total: number): void
}

/** What an amendment is given. */
export interface AmendControl extends JobControl {
  /** Also amend what may lose data for good, such as the last key of an encrypted image. Default: no. */
  readonly force?: boolean | undefined
}

/**
 * Runs a piece of an operation with no request of the node in flight. Between two pieces anything may happen to the node:
 * what one piece has read holds no longer in the next.
 *
 * @throws BlockError EPERM if the node has become read-only; ENOMEDIUM if it was closed; what the piece throws
 */
export type RunAlone = <T>(piece: () => Promise<T>) => Promise<T>

/** The control of an operation on a node that lets the node's requests run between its pieces. */
export interface PieceControl extends JobControl {
  readonly alone: RunAlone
}

/** How an operation of a node runs: the control of the job that it is part of, or as much of it as is needed. */
export interface PieceOptions extends Partial<JobControl> {
  /** Called with each report, if there is no `report`. If it throws, the operation fails. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined
}

/** For operations that no job runs: never paused, never cancelled. */
export const UNCONTROLLED: JobControl = { checkpoint: () => undefined, report: () => undefined }
