/**
 * The nodes of one file: never two of them write at a time, whatever is above them, and none writes beside one
 * whose users do not share writing. That is stricter than QEMU, which lets two raw nodes write to one file.
 *
 * Drivers report the identity of a file (`NodeOps.identity`), whatever name led to it. The table of identities is
 * shared on purpose, by the whole process and all copies of this library in it, whatever their environments.
 */

import { BlockError } from '../base/errors.ts'
import { shared } from '../base/shared-state.ts'
import { PERMISSION, type Permissions, permissionNames } from '../contract/permissions.ts'
import type { LinkedNode } from './links.ts'
import { Uses } from './uses.ts'

/** Open nodes by the identity of their file. */
const identities = shared('identities', () => new Map<string, Uses<LinkedNode>>())

/** What a node does with its file, for itself and everything above it. */
const useOfFile = (node: LinkedNode): Permissions => ({
  taken: node.permissions.taken | (node.mayWrite ? PERMISSION.write : 0),
  shared: node.permissions.shared,
})

/** The nodes of the same file, this one among them; undefined if the node made no claim to a file. */
function nodesOf(node: LinkedNode): Uses<LinkedNode> | undefined {
  const { identity } = node.ops
  const nodes = identity === undefined ? undefined : identities.get(identity)
  return nodes?.has(node) ? nodes : undefined
}

/**
 * Registers a node under the identity of its file until it is closed. Whether it may use the file is checked when
 * its permissions are updated.
 */
export function claimIdentity(node: LinkedNode): void {
  const { identity, sharesIdentity } = node.ops
  if (identity === undefined || sharesIdentity) return
  const nodes = identities.get(identity) ?? new Uses<LinkedNode>(PERMISSION.write)
  identities.set(identity, nodes)
  if (nodes.has(node)) return
  nodes.add(node)
  node.once('close', () => {
    nodes.delete(node)
    if (nodes.size === 0 && identities.get(identity) === nodes) identities.delete(identity)
  })
}

/** The permissions of a node have changed, or its right to write. */
export const touchIdentity = (node: LinkedNode): void => nodesOf(node)?.touch(node)

/** Checks the use that a node makes of its file against those of the other nodes. @throws BlockError EBUSY */
export function requireIdentity(node: LinkedNode): void {
  const nodes = nodesOf(node)
  nodes?.update(useOfFile)
  const conflict = nodes?.conflict()
  if (!conflict) return
  const { taker, sharer, bits } = conflict
  const [name] = permissionNames(bits)
  throw taker === node
    ? identityConflict(`"${name}"`, node.filename, sharer)
    : identityConflict(`shared "${name}"`, node.filename, taker)
}

/** Checks whether the file of that identity may be emptied or made anew. @throws BlockError EBUSY */
export function requireIdentityUnused(identity: string, filename: string): void {
  for (const node of identities.get(identity) ?? []) {
    const { taken, shared } = useOfFile(node)
    if (taken & PERMISSION.write || !(shared & PERMISSION.write))
      throw identityConflict('"write"', filename, node)
  }
}

/** Checks that no other node has the file of a node open, not even for reading. @throws BlockError EBUSY */
export function requireSoleIdentity(node: LinkedNode): void {
  for (const other of identities.get(node.ops.identity ?? '') ?? [])
    if (other !== node) throw identityConflict('"write"', node.filename, other)
}

/** In the words of QEMU's `file` driver, which scripts compare; the cause names the other node. */
function identityConflict(lock: string, filename: string, other: LinkedNode): BlockError {
  const how = other.mayWrite ? 'writing' : 'reading'
  return new BlockError(
    'EBUSY',
    `Failed to get ${lock} lock\nIs another process using the image [${filename}]?`,
    {
      cause: new BlockError(
        'EBUSY',
        `${other.name.startsWith('#') ? 'a node' : `node '${other.name}'`} of this process has it open for ${how}, as '${other.filename}'`,
        { node: other.name },
      ),
    },
  )
}
