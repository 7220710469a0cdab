/** Errors for requests that a node refuses. Messages name the file; the error's `node` is the node name. */

import { BlockError, type BlockErrorCode } from '../base/errors.ts'
import type { BlockNode } from '../contract/node.ts'
import type { LinkedNode } from './links.ts'
import { nodeTitle } from './node-text.ts'

/** Bytes [offset, offset + bytes) are not all inside the node. */
export const outsideError = (
  node: BlockNode,
  offset: number,
  bytes: number,
  code: BlockErrorCode = 'EIO',
): BlockError =>
  new BlockError(code, `request [${offset}, +${bytes}) is outside ${nodeTitle(node)}`, {
    node: node.name,
    offset,
  })

/** The driver has no such operation. */
export const unsupportedError = ({ name: node, driver }: BlockNode, what: string): BlockError =>
  new BlockError('ENOTSUP', `driver '${driver.name}' does not support ${what}`, { node })

/** The node has crashed, or was closed. */
export const closedError = (node: BlockNode, hasCrashed: boolean): BlockError =>
  hasCrashed
    ? new BlockError('ECANCELED', `${nodeTitle(node)} crashed`, { node: node.name })
    : new BlockError('ENOMEDIUM', `${nodeTitle(node)} is closed`, { node: node.name })

/** A write to a read-only node. */
export const readOnlyError = (node: BlockNode): BlockError =>
  new BlockError('EPERM', `Block ${nodeTitle(node).replace(/^(?!node )/, 'node ')} is read-only`, {
    node: node.name,
  })

/** A node cannot be closed because other nodes use it. */
export function busyError(node: LinkedNode): BlockError {
  const [edge] = node.parents
  const own = nodeTitle(node)
  const above = edge?.owner ? nodeTitle(edge.owner) : `node '${edge?.parent}'`
  // A format has the title of its file: the driver name tells the two apart.
  const driver = above === own ? ` (${edge?.owner?.driver.name})` : ''
  return new BlockError('EBUSY', `${own} is in use by ${above}${driver}`, { node: node.name })
}

/** Errors of requests that had begun: the node failed, not the request. */
const failures = new WeakSet<object>()

/** Notes that a request failed with this error after it had begun. */
export function markFailure(error: unknown): void {
  if (typeof error === 'object' && error !== null) failures.add(error)
}

/** Whether a request failed with this error after it had begun. */
export const isFailure = (error: unknown): boolean => failures.has(error as object)
