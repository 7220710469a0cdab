/** What a handle does when a request fails: QEMU's `rerror` and `werror`. */

/**
 * `report`: the request fails. `ignore`: it succeeds all the same; a read leaves the buffer as it is. `stop`: it waits,
 * and all later requests with it, until the handle is told to resume, and is then tried again. `enospc`: `stop` if
 * the host has no space left, else `report`.
 */
export type ErrorAction = 'report' | 'ignore' | 'stop' | 'enospc'

/** The actions for both directions. Flushes and discards belong to `write`. */
export interface ErrorPolicy {
  readonly read: Exclude<ErrorAction, 'enospc'>
  readonly write: ErrorAction
}

/** A handle's policy until another is set. */
export const REPORT_ALL: ErrorPolicy = { read: 'report', write: 'report' }

/** What is done about one failure. */
export type TakenAction = Exclude<ErrorAction, 'enospc'>
