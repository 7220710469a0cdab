/** Why a node does not take a request. Messages name the file, `node` of the error the node. */
import { BlockError, type BlockErrorCode } from './errors.ts'
import type { BlockNode } from './node.ts'
import { nodeTitle } from './node-text.ts'

/** Bytes [offset, offset + bytes) are not all of them the node's. */
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
export const goneError = (node: BlockNode, hasCrashed: boolean): BlockError =>
  hasCrashed
    ? new BlockError('ECANCELED', `${nodeTitle(node)} crashed`, { node: node.name })
    : new BlockError('ENOMEDIUM', `${nodeTitle(node)} is closed`, { node: node.name })

/** Somebody would write to a node that may not be written to. */
export const readOnlyError = (node: BlockNode): BlockError =>
  new BlockError('EPERM', `Block ${nodeTitle(node).replace(/^(?!node )/, 'node ')} is read-only`, {
    node: node.name,
  })

/** A node shall be closed, and others stand on it. */
export function busyError(node: BlockNode): BlockError {
  const [edge] = node.parents
  const own = nodeTitle(node)
  const above = edge?.owner ? nodeTitle(edge.owner) : `node '${edge?.parent}'`
  // A format is called by its file.
  const driver = above === own ? ` (${edge?.owner?.driver.name})` : ''
  return new BlockError('EBUSY', `${own} is in use by ${above}${driver}`, { node: node.name })
}
