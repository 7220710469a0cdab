/** What a handle does when a request fails: QEMU's `rerror` and `werror`. */
import type { wrongValue } from '../base/arguments.ts'
import type { BlockError } from '../base/errors.ts'
import type { RequestKind } from './statistics.ts'

const ACTIONS = ['report', 'ignore', 'stop', 'enospc'] as const

/**
 * `report`: the request fails. `ignore`: it succeeds all the same; a read leaves the buffer as it is. `stop`: it waits,
 * and all later requests with it, until the handle is told to resume, and is then tried again. `enospc`: `stop` if
 * the host has no space left, else `report`.
 */
export type ErrorAction = (typeof ACTIONS)[number]

/** The actions for both directions. Flushes and discards belong to `write`. */
export interface ErrorPolicy {
  readonly read: Exclude<ErrorAction, 'enospc'>
  readonly write: ErrorAction
}

/** What is done about one failure. */
export type TakenAction = Exclude<ErrorAction, 'enospc'>

/**
 * @param refuse makes the error for a wrong value
 * @throws BlockError EINVAL that names the direction
 */
export function requireErrorPolicy(policy: Partial<ErrorPolicy>, refuse: typeof wrongValue): void {
  if (!isRecord(policy)) throw refuse('policy', '{ read, write }', policy)
  for (const [direction, action] of Object.entries(policy)) {
    if (direction !== 'read' && direction !== 'write') throw refuse('policy', '{ read, write }', direction)
    // Reads need no space.
    const known = direction === 'read' ? ACTIONS.slice(0, -1) : ACTIONS
    if (action !== undefined && !known.includes(action))
      throw refuse(direction, known.map((word) => `'${word}'`).join(', '), action)
  }
}

/** Whether a value is a group of options, and not a list, a Map or the like. */
export const isRecord = (value: unknown): boolean =>
  Object.prototype.toString.call(value) === '[object Object]'

/** The action that a policy takes for a failure. */
export function actionFor({ read, write }: ErrorPolicy, kind: RequestKind, error: unknown): TakenAction {
  const action = kind === 'read' ? read : write
  if (action !== 'enospc') return action
  return (error as BlockError).code === 'ENOSPC' ? 'stop' : 'report'
}
