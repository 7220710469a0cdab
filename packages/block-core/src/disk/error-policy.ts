/** What a handle does when a request fails: QEMU's `rerror` and `werror`. */
import { isPlain, wrongValue } from '../base/arguments.ts'
import { BlockError, isBlockError } from '../base/errors.ts'
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

/** A handle's policy until another is set. */
export const REPORT_ALL: ErrorPolicy = { read: 'report', write: 'report' }

/** What is done about one failure. */
export type TakenAction = Exclude<ErrorAction, 'enospc'>

/** @throws BlockError EINVAL that names the direction */
export function requireErrorPolicy(policy: Partial<ErrorPolicy>): void {
  if (!isPlain(policy)) throw wrongValue('policy', '{ read, write }', policy)
  for (const [direction, action] of Object.entries(policy)) {
    if (direction !== 'read' && direction !== 'write')
      throw wrongValue('policy', '{ read, write }', direction)
    if (action !== undefined && !ACTIONS.includes(action as ErrorAction))
      throw wrongValue(direction, ACTIONS.map((known) => `'${known}'`).join(', '), action)
  }
  if ((policy as { read?: unknown }).read === 'enospc')
    throw new BlockError('EINVAL', `'enospc' invalid read error action`)
}

/** The action that a policy takes for a failure. */
export function actionFor({ read, write }: ErrorPolicy, kind: RequestKind, error: unknown): TakenAction {
  const action = kind === 'read' ? read : write
  if (action !== 'enospc') return action
  return isBlockError(error, 'ENOSPC') ? 'stop' : 'report'
}
