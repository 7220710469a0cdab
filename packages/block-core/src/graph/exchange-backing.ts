/** Gives an open node another backing file: at the end of the edge that it has, or by an edge that comes or goes. */
import { childrenOf, namesOf } from './child-options.ts'
import { GraphEdge } from './edge.ts'
import type { Edge, LinkedNode } from './links.ts'
import { unsupportedError } from './node-errors.ts'
import { moveEdges, updatePermissions } from './permissions.ts'

/** Whether {@link exchangeBacking} can do this. @throws BlockError ENOTSUP */
export function requireExchange(node: LinkedNode, to: LinkedNode | undefined): void {
  if ((node.backing === undefined) !== (to === undefined) && !node.ops.setBacking)
    throw unsupportedError(node, 'changing its backing file while it is open')
}

/**
 * Lets `to` show through where `node` holds nothing; undefined: nothing shows through. The node that did so is closed
 * if nothing else uses it. `node` must be drained.
 *
 * @throws BlockError EBUSY if `to` is used in a way that does not allow it: then everything is as before; errors of
 *   closing the other node
 */
export async function exchangeBacking(node: LinkedNode, to: LinkedNode | undefined): Promise<void> {
  const edge = node.backing
  const old = edge?.node
  if (edge && to) moveEdges([edge], to)
  else if (edge) setBacking(node, undefined)
  else if (to) addBacking(node, to)
  if (edge && old && old !== to) await old.releasedBy(edge)
}

function addBacking(node: LinkedNode, to: LinkedNode): void {
  const { driver, readOnly, origin } = node
  const kinds = childrenOf(driver)
  const [role] = namesOf(kinds, (kind) => kind.isBacking)
  const opening = { driver, readOnly, forceShare: origin?.forceShare === true }
  const edge = new GraphEdge(role!, kinds[role!]!, node.name, to, opening)
  edge.owner = node
  to.parents.add(edge)
  try {
    updatePermissions([to])
  } catch (error) {
    to.parents.delete(edge)
    throw error
  }
  setBacking(node, edge)
}

/** Puts an edge to a backing file in, or takes it out, and tells the driver. */
function setBacking(node: LinkedNode, edge: Edge | undefined): void {
  const others = [...node.children].filter(([, each]) => each !== node.backing)
  const all = new Map(edge ? [...others, [edge.role, edge] as const] : others)
  // In the driver's order, whenever they came.
  const roles = Object.keys(childrenOf(node.driver)).filter((role) => all.has(role))
  node.children = new Map([...roles, ...all.keys()].map((role) => [role, all.get(role)!]))
  node.backing = edge
  node.ops.setBacking!(edge)
  node.refresh()
}
