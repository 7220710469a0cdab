/** Why a node does not take a request. */
import { BlockError, type BlockErrorCode } from './errors.ts'
import type { BlockNode } from './node.ts'

/** Bytes [offset, offset + bytes) are not all of them the node's. */
export const outsideError = (
  { name: node }: BlockNode,
  offset: number,
  bytes: number,
  code: BlockErrorCode = 'EIO',
): BlockError =>
  new BlockError(code, `request [${offset}, +${bytes}) is outside node '${node}'`, { node, offset })

/** The driver has no such operation. */
export const unsupportedError = ({ name: node, driver }: BlockNode, what: string): BlockError =>
  new BlockError('ENOTSUP', `driver '${driver.name}' does not support ${what}`, { node })

/** The node has crashed, or was closed. */
export const goneError = ({ name: node }: BlockNode, hasCrashed: boolean): BlockError =>
  hasCrashed
    ? new BlockError('ECANCELED', `node '${node}' crashed`, { node })
    : new BlockError('ENOMEDIUM', `node '${node}' is closed`, { node })
