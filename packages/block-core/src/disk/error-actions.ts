/** Error policies at work: loaded with the first handle that has one. */
import { isPlain, wrongValue } from '../base/arguments.ts'
import { BlockError, isBlockError } from '../base/errors.ts'
import type { ErrorAction, ErrorPolicy, TakenAction } from './error-policy.ts'
import type { RequestKind } from './statistics.ts'

const ACTIONS: readonly ErrorAction[] = ['report', 'ignore', 'stop', 'enospc']

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
