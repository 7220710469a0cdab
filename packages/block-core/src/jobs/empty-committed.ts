/** The end of a commit. A file of its own: programs that run it apart from the copying do not load that for it. */
import { isBlockError } from '../base/errors.ts'
import type { BlockNode } from '../contract/node.ts'
import { skipFilters } from '../graph/block-status.ts'
import { linkedNode } from '../graph/known-nodes.ts'

/**
 * Empties a node whose backing file has all of its content, if its format can do that. What the node shows stays the same: its
 * observers, and with them its bitmaps, are not told.
 *
 * @throws BlockError any error of emptying
 */
export async function emptyCommitted(top: BlockNode): Promise<void> {
  try {
    await linkedNode(skipFilters(top)).exclusive('makeEmpty', undefined, (ops) => ops.makeEmpty!())
  } catch (error) {
    // Not every format can be emptied; the top then keeps its copy of the data.
    if (!isBlockError(error, 'ENOTSUP')) throw error
  }
}
