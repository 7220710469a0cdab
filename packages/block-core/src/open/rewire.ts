/** Changes of the graph that applications ask for: filters put in and taken out, nodes replaced, under running requests. */
import type { BlockNode } from '../contract/node.ts'
import { linkedNode } from '../graph/known-nodes.ts'
import type { LinkedNode } from '../graph/links.ts'
import { requireNode } from '../graph/node-arguments.ts'
import { unsupportedError } from '../graph/node-errors.ts'
import { changeGraph, closeUnused, exchange, quiesced } from '../graph/rewire.ts'
import type { RawOptions } from '../text/options.ts'
import { openRoot } from './open.ts'

/**
 * Puts a filter on a node: the node's parents, and the handles on it, use the filter from now on. Requests in flight end
 * before, and others wait.
 *
 * @param options those of the filter, without its child
 * @returns the filter, for {@link removeFilter}
 * @throws BlockError as `openNode`; EBUSY, EPERM: then everything is as before
 */
export async function insertFilter(node: BlockNode, options: RawOptions): Promise<BlockNode> {
  requireNode(node, 'node')
  const below = linkedNode(node)
  return changeGraph(below, async (origin) => {
    const filter = await openRoot(origin.environment, {
      ...(below.readOnly && { 'read-only': true }),
      ...options,
      file: below,
    })
    try {
      await quiesced(below, () => exchange(below, filter), filter)
    } catch (error) {
      await filter.close().catch(() => undefined)
      throw error
    }
    // A reopen goes through the filter to the node, as it did without it.
    const { parent, role } = origin
    filter.origin = { ...filter.origin!, parent, role }
    below.origin = { ...origin, parent: filter.name, role: 'file' }
    return filter
  })
}

/**
 * Takes a filter out, and closes it: its parents, and the handles on it, use its child from now on.
 *
 * @throws BlockError ENOTSUP if it is no filter; EBUSY, EPERM: then everything is as before; errors of its shutdown
 */
export async function removeFilter(node: BlockNode): Promise<void> {
  requireNode(node, 'node')
  const filter = linkedNode(node)
  const below = filter.file?.node
  if (filter.driver.kind !== 'filter' || !below)
    throw unsupportedError(filter, 'being taken out: it is no filter')
  await changeGraph(filter, async ({ parent, role }) => {
    await quiesced(filter, () => exchange(filter, below))
    if (below.origin) below.origin = { ...below.origin, parent, role }
    await closeUnused(filter)
  })
}

/**
 * Lets another node take a node's position: its parents, and the handles on it, use the other one from now on. The old
 * one is closed if nothing uses it any more.
 *
 * @param by the other node, of the same size; or what makes it while no request is in flight, for example a copy of
 *   the old node, which it is given: requests through the handle would wait until it has ended
 * @throws BlockError EINVAL if the other node does not fit; EBUSY, EPERM; what `by` throws: then everything is as before
 */
export async function replaceNode(
  node: BlockNode,
  by: BlockNode | ((old: BlockNode) => Promise<BlockNode>),
): Promise<void> {
  requireNode(node, 'node')
  const from = linkedNode(node)
  await changeGraph(from, async ({ parent, role }) => {
    const to = await quiesced(from, async (): Promise<LinkedNode> => {
      const other = typeof by === 'function' ? await by(from) : by
      requireNode(other, 'by')
      await exchange(from, linkedNode(other))
      return linkedNode(other)
    })
    if (to.origin) to.origin = { ...to.origin, parent, role }
    await closeUnused(from)
  })
}
