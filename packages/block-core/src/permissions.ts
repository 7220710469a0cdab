/**
 * What other processes are told of a place: QEMU's permissions. Who uses a node takes some and shares some with
 * the others that use it; from parent to child they follow from what a driver does with that child. What arrives
 * at a protocol is what its driver makes locks of, where it has any. (Between the nodes of this process the
 * stricter rule of access.ts holds.)
 *
 * The rules are those of `bdrv_default_perms` and its kin in QEMU's block.c, and of the drivers that have others.
 */
import { writes } from './access.ts'
import type { BlockChild } from './child.ts'
import type { AnyDriver, Permissions, PreparedPermissions } from './driver.ts'
import { originOf } from './environment.ts'
import type { BlockNode } from './node.ts'
import { shared } from './shared-state.ts'

/** The permissions there are, as bits. Their order is that of the bytes that QEMU locks. */
export const PERMISSION = { consistentRead: 1, write: 2, writeUnchanged: 4, resize: 8 } as const

/** Everything that can be taken or shared. */
export const ALL_PERMISSIONS = 15

const { consistentRead: READ, write: WRITE, writeUnchanged: WRITE_UNCHANGED, resize: RESIZE } = PERMISSION

/** Of a node that nobody uses. */
const UNUSED: Permissions = { taken: 0, shared: ALL_PERMISSIONS }

/** What was last found of each node, and settled with the drivers. */
const settled = shared('settled', () => new WeakMap<BlockNode, Permissions>())

const settledOf = (node: BlockNode): Permissions => settled.get(node) ?? UNUSED

/** The user of a node shares everything, as the users of QEMU's programs do. */
const ofUser = (node: BlockNode): Permissions => ({
  taken: READ | (writes(node) ? WRITE : 0),
  shared: ALL_PERMISSIONS,
})

/** A backing file that was made writable: the only one who does that is who commits into it. */
const OF_COMMIT: Permissions = { taken: WRITE, shared: ALL_PERMISSIONS & ~RESIZE }

/** What all who use a node take and share together. */
function permissionsOf(node: BlockNode): Permissions {
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

function throughEdge(edge: BlockChild, node: BlockNode): Permissions {
  const { owner, opening } = edge
  const driver = owner?.driver ?? opening?.driver
  if (!driver) return UNUSED
  const isWriter = owner ? writes(owner) : opening?.readOnly === false
  const use = ofDriver(driver, edge, owner ? settledOf(owner) : UNUSED, isWriter)
  return originOf(node)?.forceShare ? { ...use, shared: ALL_PERMISSIONS } : use
}

/** What a driver does with a child, when this is what is done with the driver's own node. */
function ofDriver(driver: AnyDriver, edge: BlockChild, above: Permissions, isWriter: boolean): Permissions {
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
  // What keeps tables in the child needs them consistent, and changes them behind everybody else's back.
  return { taken: taken | READ | (isWriter ? WRITE | RESIZE : 0), shared: shared & ~(WRITE | RESIZE) }
}

/**
 * Finds anew what is done with nodes, and with all that is below them, and settles it with the drivers. To be
 * called when one of the nodes has got, or lost, a parent or the right to write.
 *
 * @throws BlockError EBUSY where another process is in the way: then everything is as before
 */
export function settlePermissions(nodes: readonly BlockNode[]): void {
  const before = new Map<BlockNode, Permissions | undefined>()
  const visit = (node: BlockNode, isRoot: boolean): void => {
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

/** What a node does with its children may have changed. */
function touchBelow({ children }: BlockNode): void {
  for (const edge of children.values()) edge.node.parents.touch(edge)
}

/**
 * Asks for what a parent would do with a node that is yet to become its child, and keeps it until the returned
 * function is called, or the node has become the child.
 *
 * @throws BlockError EBUSY
 */
export function reservePermissions(edge: BlockChild, node: BlockNode): () => void {
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
