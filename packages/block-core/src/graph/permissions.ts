/**
 * What each user may do with a node: QEMU's permissions. Each user of a node takes some and shares some with the other
 * users. From parent to child they follow from the kind of the child, which the driver above declares; two parents
 * that take what the other does not share are in conflict. What reaches a protocol is compared with the other
 * nodes of its file (identity.ts), and told to its driver, which may turn it into file locks.
 *
 * A change has two phases, as in QEMU: everything is computed and checked, and the drivers prepare; then all of
 * them commit, or everything is as before.
 */

import { BlockError } from '../base/errors.ts'
import {
  ALL_PERMISSIONS,
  PERMISSION,
  type Permissions,
  type PreparedPermissions,
  permissionNames,
} from '../contract/permissions.ts'
import { requireIdentity, requireSoleIdentity, touchIdentity } from './identity.ts'
import type { Edge, LinkedNode, NodeUser } from './links.ts'
import { type Conflict, UNUSED } from './uses.ts'

/** What a handle takes of a node: of one that may not write, only to read. */
const takenBy = (user: NodeUser, { mayWrite }: LinkedNode): number =>
  mayWrite ? user.taken : user.taken & PERMISSION.consistentRead

/** The permissions that a parent needs on `node`. */
function ofEdge({ owner, opening, kind }: Edge, node: LinkedNode): Permissions {
  if (!owner && !opening) return UNUSED
  const writes = owner ? owner.mayWrite : opening?.readOnly === false
  const use = kind.permissions(owner?.permissions ?? UNUSED, {
    writes,
    options: owner?.config.explicit ?? {},
  })
  const isForced = (owner?.origin ?? opening)?.forceShare || node.origin?.forceShare
  return isForced ? { ...use, shared: ALL_PERMISSIONS } : use
}

/** The combined permissions of everything that uses a node: its parents, and the handles on it. */
function ofNode(node: LinkedNode): Permissions {
  node.parents.update((edge) => ofEdge(edge, node))
  let { taken, shared } = node.parents.total()
  for (const user of node.users) {
    taken |= takenBy(user, node)
    shared &= user.shared
  }
  return { taken, shared }
}

/**
 * Recomputes the permissions of nodes and of everything below them, checks them, and applies them through the
 * drivers. To be called when one of the nodes has gained or lost a parent or the right to write.
 *
 * @throws BlockError EBUSY if another parent, another node of the same file, or another process is in the way:
 *   then all permissions are as before
 */
export function updatePermissions(nodes: readonly LinkedNode[]): void {
  const before = new Map<LinkedNode, Permissions>()
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
function compute(node: LinkedNode, isRoot: boolean, before: Map<LinkedNode, Permissions>): void {
  const now = ofNode(node)
  if (!before.has(node)) before.set(node, node.permissions)
  if (isSame(now, node.permissions) && !isRoot) return
  accept(node, now)
  for (const edge of node.children.values()) compute(edge.node, false, before)
}

const isSame = (a: Permissions, b: Permissions): boolean => a.taken === b.taken && a.shared === b.shared

function accept(node: LinkedNode, permissions: Permissions): void {
  node.permissions = permissions
  touchIdentity(node)
  for (const edge of node.children.values()) edge.node.parents.touch(edge)
}

/**
 * A handle that does not share what a parent or another handle takes. What a handle takes is not compared with what
 * parents share: the application gave them the node on purpose, and may write to the two by turns.
 */
function userConflict(node: LinkedNode): Conflict<Edge | NodeUser> | undefined {
  for (const sharer of node.users) {
    const unshared = ALL_PERMISSIONS & ~sharer.shared
    if (unshared === 0) continue
    for (const other of node.users) {
      const bits = takenBy(other, node) & unshared
      if (other !== sharer && bits !== 0) return { taker: other, sharer, bits }
    }
    const taker = node.parents.taker(unshared)
    if (taker) return { ...taker, sharer }
  }
  return undefined
}

/** QEMU's rule and words (`bdrv_parent_perms_conflict`). @throws BlockError EBUSY */
function requireNoConflict(node: LinkedNode): void {
  const conflict: Conflict<Edge | NodeUser> | undefined = node.parents.conflict() ?? userConflict(node)
  if (!conflict) return
  const { taker, sharer, bits } = conflict
  const describe = ({ parent, role = 'root' }: Partial<Edge>): string =>
    `by ${parent === undefined ? 'an unnamed block device' : `node '${parent}'`} (uses node '${node.name}' as '${role}' child)`
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
 * Moves edges and handles to another node, all or none. The owners of the edges must be drained, and the handles hold
 * their requests back. A node that nothing uses afterwards is left open.
 *
 * @throws BlockError EBUSY if their permissions are not to be had on `to`
 */
export function moveEdges(edges: readonly (Edge | NodeUser)[], to: LinkedNode): void {
  const from = edges.map((edge) => edge.node)
  const wasParent = edges.map((edge) => to.parents.has(edge as Edge))
  for (const edge of edges) edge.replace(to)
  try {
    // What loses a parent is first, so that it wants less of `to`, should it be above it.
    updatePermissions([...from, to])
  } catch (error) {
    for (const [i, edge] of edges.entries()) {
      edge.replace(from[i]!)
      if (wasParent[i]) to.parents.add(edge as Edge)
    }
    throw error
  }
}

/**
 * Uses a node for a job, beside its handles and parents.
 *
 * @returns ends the use
 * @throws BlockError EBUSY
 */
export function useNode(node: LinkedNode, { taken, shared }: Permissions): () => void {
  const user: NodeUser = {
    taken,
    shared,
    node,
    hold: () => () => undefined,
    replace(other) {
      user.node.users.delete(user)
      other.users.add(user)
      user.node = other
    },
  }
  const end = (): void => {
    user.node.users.delete(user)
    updatePermissions([user.node])
  }
  node.users.add(user)
  try {
    updatePermissions([node])
  } catch (error) {
    end()
    throw error
  }
  return end
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
