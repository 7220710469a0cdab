/**
 * QEMU's permissions, which protect files against other processes. Each user of a node takes some permissions
 * and shares some with the other users; from parent to child they follow from what the driver does with that
 * child. Protocol drivers turn the permissions that reach them into file locks, if they have any. (Between
 * the nodes of this process the stricter rule of access.ts applies.)
 *
 * The rules are those of `bdrv_default_perms` and related functions in QEMU's block.c, and of drivers with
 * their own.
 */

import { shared } from '../base/shared-state.ts'
import type { AnyDriver } from '../contract/driver.ts'
import {
  ALL_PERMISSIONS,
  PERMISSION,
  type Permissions,
  type PreparedPermissions,
} from '../contract/permissions.ts'
import { writes } from './access.ts'
import { originOf } from './environment.ts'
import type { Edge, LinkedNode } from './links.ts'

const { consistentRead: READ, write: WRITE, writeUnchanged: WRITE_UNCHANGED, resize: RESIZE } = PERMISSION

/** The permissions of a node without users. */
const UNUSED: Permissions = { taken: 0, shared: ALL_PERMISSIONS }

/** The last permissions of each node that the drivers accepted. */
const settled = shared('settled', () => new WeakMap<LinkedNode, Permissions>())

const settledOf = (node: LinkedNode): Permissions => settled.get(node) ?? UNUSED

/** The user of a node shares everything, as the users of QEMU's programs do. */
const ofUser = (node: LinkedNode): Permissions => ({
  taken: READ | (writes(node) ? WRITE : 0),
  shared: ALL_PERMISSIONS,
})

/** For a backing file that was made writable: only a commit into it does that. */
const OF_COMMIT: Permissions = { taken: WRITE, shared: ALL_PERMISSIONS & ~RESIZE }

/** The combined permissions of all users of a node. */
function permissionsOf(node: LinkedNode): Permissions {
  const { parents } = node
  parents.update((edge) => throughEdge(edge, node))
  const uses = [...parents.uses()]
  if (!node.config.ownedByParents) uses.push(ofUser(node))
  else if (uses.length > 0 && parents.areBacking && writes(node)) uses.push(OF_COMMIT)
  let { taken, shared } = UNUSED
  for (const use of uses) {
    taken |= use.taken
    shared &= use.shared
  }
  return { taken, shared }
}

function throughEdge(edge: Edge, node: LinkedNode): Permissions {
  const { owner, opening } = edge
  const driver = owner?.driver ?? opening?.driver
  if (!driver) return UNUSED
  const isWriter = owner ? writes(owner) : opening?.readOnly === false
  const use = ofDriver(driver, edge, owner ? settledOf(owner) : UNUSED, isWriter)
  return originOf(node)?.forceShare ? { ...use, shared: ALL_PERMISSIONS } : use
}

/** The permissions of a driver on its child, given those on the driver's own node (`above`). */
function ofDriver(driver: AnyDriver, edge: Edge, above: Permissions, isWriter: boolean): Permissions {
  const { taken, shared } = above
  const { role } = edge
  if (role === 'backing') {
    const changes = shared & WRITE ? WRITE | RESIZE : 0
    return { taken: taken & READ, shared: READ | WRITE_UNCHANGED | changes }
  }
  if (role === 'data-file' || role === 'test')
    return { taken: taken | (taken & WRITE ? RESIZE : 0), shared: shared & ~RESIZE }
  if (role !== 'log' && driver.kind === 'filter')
    return { taken: taken | (driver.writesUnchanged ? WRITE_UNCHANGED : 0), shared }
  if (role !== 'log' && driver.sharesFile) {
    const isWindow = driver.isWindow?.(edge.owner?.config.explicit ?? {})
    return { taken, shared: isWindow ? shared & ~RESIZE : shared }
  }
  // A format keeps tables in the child: it must read them consistently, and changes them unseen by other
  // users.
  return { taken: taken | READ | (isWriter ? WRITE | RESIZE : 0), shared: shared & ~(WRITE | RESIZE) }
}

/**
 * Recomputes the permissions of nodes and of everything below them, and applies them through the drivers. To
 * be called when one of the nodes has gained or lost a parent or the right to write.
 *
 * @throws BlockError EBUSY if another process is in the way: then everything is as before
 */
export function settlePermissions(nodes: readonly LinkedNode[]): void {
  const before = new Map<LinkedNode, Permissions | undefined>()
  const visit = (node: LinkedNode, isRoot: boolean): void => {
    const [now, then] = [permissionsOf(node), settledOf(node)]
    const isSame = now.taken === then.taken && now.shared === then.shared
    if (isSame && !isRoot) return
    if (!isSame && !before.has(node)) before.set(node, settled.get(node))
    settled.set(node, now)
    touchBelow(node)
    for (const edge of node.children.values()) visit(edge.node, false)
  }
  for (const node of nodes) visit(node, true)
  const steps: PreparedPermissions[] = []
  try {
    for (const node of before.keys()) {
      const step = node.isOpen ? node.ops.preparePermissions?.(settledOf(node)) : undefined
      if (step) steps.push(step)
    }
  } catch (error) {
    for (const step of steps) step.abort()
    for (const [node, permissions] of before) {
      settled.set(node, permissions ?? UNUSED)
      touchBelow(node)
    }
    throw error
  }
  for (const step of steps) step.commit()
}

/** Marks the edges to a node's children as changed. */
function touchBelow({ children }: LinkedNode): void {
  for (const edge of children.values()) edge.node.parents.touch(edge)
}

/**
 * Reserves the permissions that a parent will need on a future child, until the returned function is called.
 * If the node has become the child by then, it keeps them.
 *
 * @throws BlockError EBUSY
 */
export function reservePermissions(edge: Edge, node: LinkedNode): () => void {
  node.parents.add(edge)
  const end = (): void => {
    if (edge.node === node) return
    node.parents.delete(edge)
    settlePermissions([node])
  }
  try {
    settlePermissions([node])
  } catch (error) {
    node.parents.delete(edge)
    throw error
  }
  return end
}
