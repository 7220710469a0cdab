/**
 * Who may do what with a node: QEMU's permissions. Each user of a node takes some and shares some with the other
 * users. From parent to child they follow from the kind of the child, which the driver above declares; two parents
 * that take what the other does not share are in conflict. What reaches a protocol is compared with the other
 * nodes of its file (identity.ts), and told to its driver, which may turn it into file locks.
 *
 * A change has two phases, as in QEMU: everything is computed and checked, and the drivers prepare; then all of
 * them commit, or everything is as before.
 */

import { BlockError } from '../base/errors.ts'
import type { BlockNode } from '../contract/node.ts'
import {
  ALL_PERMISSIONS,
  PERMISSION,
  type Permissions,
  type PreparedPermissions,
  permissionNames,
} from '../contract/permissions.ts'
import { requireIdentity, requireSoleIdentity, touchIdentity } from './identity.ts'
import { linkedNode } from './known-nodes.ts'
import type { Edge, LinkedNode } from './links.ts'
import { requireNode } from './node-arguments.ts'
import { UNUSED, type Use } from './uses.ts'

const { consistentRead: READ, write: WRITE, writeUnchanged: WRITE_UNCHANGED, resize: RESIZE } = PERMISSION

const union = (a: Use, b: Permissions): Use => ({
  taken: a.taken | b.taken,
  shared: a.shared & b.shared,
  isLenient: a.isLenient,
})

/**
 * The permissions of the user of a node, who shares everything, as the users of QEMU's programs do. They are in
 * conflict with no parent of the node: the user puts it to use on purpose.
 */
function ofUser(node: LinkedNode): Permissions {
  if (node.config.ownedByParents) return UNUSED
  return {
    taken: READ | (node.mayWrite ? WRITE : 0),
    shared: node.unsharesWrites ? READ | WRITE_UNCHANGED : ALL_PERMISSIONS,
  }
}

/** Those of a commit, which alone makes a backing file writable that belongs to the nodes above it. */
function ofCommit({ config, parents, mayWrite }: LinkedNode, { taken }: Permissions): Permissions {
  const isCommit =
    config.ownedByParents && mayWrite && !(taken & WRITE) && parents.size > 0 && allBacking(parents)
  return isCommit ? { taken: WRITE, shared: ALL_PERMISSIONS & ~RESIZE } : UNUSED
}

function allBacking(edges: Iterable<Edge>): boolean {
  for (const { kind } of edges) if (!kind.isBacking) return false
  return true
}

/** The permissions that a parent needs on `node`. */
function ofEdge({ owner, opening, kind }: Edge, node: LinkedNode): Use {
  const above = owner?.permissions ?? UNUSED
  // A filter that has only a user is as that user.
  const isLenient = kind.isFiltered === true && above.isLenient
  if (!owner && !opening) return UNUSED
  const writes = owner ? owner.mayWrite : opening?.readOnly === false
  const use = kind.permissions(above, { writes, options: owner?.config.explicit ?? {} })
  const isForced = (owner?.origin ?? opening)?.forceShare || node.origin?.forceShare
  return { taken: use.taken, shared: isForced ? ALL_PERMISSIONS : use.shared, isLenient }
}

/** The combined permissions of all users of a node. */
function ofNode(node: LinkedNode): Use {
  node.parents.update((edge) => ofEdge(edge, node))
  const parents = node.parents.total()
  const isLenient = parents.isLenient && !node.unsharesWrites
  const total = union({ ...parents, isLenient }, ofUser(node))
  return union(total, ofCommit(node, total))
}

/**
 * Recomputes the permissions of nodes and of everything below them, checks them, and applies them through the
 * drivers. To be called when one of the nodes has gained or lost a parent or the right to write.
 *
 * @throws BlockError EBUSY if another parent, another node of the same file, or another process is in the way:
 *   then all permissions are as before
 */
export function updatePermissions(nodes: readonly LinkedNode[]): void {
  const before = new Map<LinkedNode, Use>()
  const steps: PreparedPermissions[] = []
  try {
    for (const node of nodes) compute(node, true, before)
    for (const node of before.keys()) {
      requireNoConflict(node)
      requireIdentity(node)
    }
    for (const [node, then] of before) {
      const step =
        node.isOpen && !isSame(node.permissions, then)
          ? node.ops.preparePermissions?.(node.permissions)
          : undefined
      if (step) steps.push(step)
    }
  } catch (error) {
    for (const step of steps) step.abort()
    for (const [node, then] of before) accept(node, then)
    throw error
  }
  for (const step of steps) step.commit()
}

/** Computes the permissions of a node, and of what is below it as far as that changes them. */
function compute(node: LinkedNode, isRoot: boolean, before: Map<LinkedNode, Use>): void {
  const now = ofNode(node)
  const isChanged = !isSame(now, node.permissions) || now.isLenient !== node.permissions.isLenient
  if (!before.has(node)) before.set(node, node.permissions)
  if (!isChanged && !isRoot) return
  accept(node, now)
  for (const edge of node.children.values()) compute(edge.node, false, before)
}

const isSame = (a: Permissions, b: Permissions): boolean => a.taken === b.taken && a.shared === b.shared

function accept(node: LinkedNode, permissions: Use): void {
  node.permissions = permissions
  touchIdentity(node)
  for (const edge of node.children.values()) edge.node.parents.touch(edge)
}

/** QEMU's rule and words (`bdrv_parent_perms_conflict`). @throws BlockError EBUSY */
function requireNoConflict(node: LinkedNode): void {
  const conflict = node.parents.conflict()
  if (!conflict) return
  const { taker, sharer, bits } = conflict
  const describe = ({ parent, role }: Edge): string =>
    `by node '${parent}' (uses node '${node.name}' as '${role}' child)`
  throw new BlockError(
    'EBUSY',
    `Permission conflict on node '${node.name}': permissions '${permissionNames(bits).join(', ')}' are both required ` +
      `${describe(taker)} and unshared ${describe(sharer)}.`,
    { node: node.name },
  )
}

/** An edge, and the node that it will lead to. */
export interface EdgeMove {
  readonly edge: Edge
  readonly node: LinkedNode
}

/**
 * Reserves for edges what their owners will need on another node, beside what they have on their own: so that
 * {@link moveEdges} succeeds later.
 *
 * @returns a function that gives back what was not moved by then
 * @throws BlockError EBUSY
 */
export function reserveMoves(moves: readonly EdgeMove[]): () => void {
  const drop = () => {
    const unused = moves.filter(({ edge, node }) => edge.node !== node)
    for (const { edge, node } of unused) node.parents.delete(edge)
    return unused.map(({ node }) => node)
  }
  for (const { edge, node } of moves) node.parents.add(edge)
  try {
    updatePermissions(moves.map(({ node }) => node))
  } catch (error) {
    drop()
    throw error
  }
  return () => updatePermissions(drop())
}

/**
 * Moves edges to another node, all or none. The owners of the edges must be drained. A node that loses its last
 * parent is left open.
 *
 * @throws BlockError EBUSY if the permissions of the parents are not to be had on `to`
 */
export function moveEdges(edges: readonly Edge[], to: LinkedNode): void {
  const from = edges.map((edge) => edge.node)
  const wasParent = edges.map((edge) => to.parents.has(edge))
  for (const edge of edges) edge.replace(to)
  try {
    // What loses a parent is first, so that it wants less of `to`, should it be above it.
    updatePermissions([...from, to])
  } catch (error) {
    for (const [i, edge] of edges.entries()) {
      edge.replace(from[i]!)
      if (wasParent[i]) to.parents.add(edge)
    }
    throw error
  }
}

/**
 * Reserves the right to write for nodes that are to be reopened.
 *
 * @returns a function that ends the reservation, after which the permissions must be updated
 * @throws BlockError EBUSY
 */
export function gainWriting(nodes: readonly LinkedNode[]): () => void {
  const end = (): void => {
    for (const node of nodes) node.gainsWriting = false
  }
  for (const node of nodes) node.gainsWriting = true
  try {
    updatePermissions(nodes)
  } catch (error) {
    end()
    throw error
  }
  return end
}

/**
 * From now on, until the node is closed, nothing may write to what is below it, because its user relies on the
 * content: the source of a copy (QEMU's BDRV_O_NO_SHARE).
 *
 * @throws BlockError EBUSY if something writes to it already
 */
export function unshareWrites(node: BlockNode): void {
  requireNode(node, 'node')
  const linked = linkedNode(node)
  linked.unsharesWrites = true
  try {
    updatePermissions([linked])
  } catch (error) {
    linked.unsharesWrites = false
    throw error
  }
}

/**
 * Checks whether the content of a node may be replaced: no parent may have the node open, not even for reading,
 * unless it tolerates writers (`force-share`), and no other node its file, even if that is not locked.
 *
 * @throws BlockError EBUSY
 */
export function requireSole(node: LinkedNode): void {
  for (const { parent, opening } of node.parents)
    if (!opening?.forceShare)
      throw new BlockError('EBUSY', `node '${node.name}' is in use by node '${parent}'`, { node: node.name })
  let bottom = node
  while (bottom.file) bottom = bottom.file.node
  requireSoleIdentity(bottom)
}
