/** What few handles need: loaded when the first of them asks. */
import { isCount, isPlain, wrongValue } from '../base/arguments.ts'
import { BlockError } from '../base/errors.ts'
import { ALL_PERMISSIONS, PERMISSION, type Permissions } from '../contract/permissions.ts'
import type { LinkedNode, NodeUser } from '../graph/links.ts'

export { RequestWatch } from './request-watch.ts'

/** A handle's hold on its root, as the handle itself sees it. */
export type ChangingUser = { -readonly [K in keyof NodeUser]: NodeUser[K] } & { node: LinkedNode }

/**
 * See `Disk.setPermissions`.
 *
 * @param update the permission engine, which is loaded already
 * @throws BlockError EINVAL, EPERM, EBUSY: then nothing is changed
 */
export function changePermissions(
  user: ChangingUser,
  wanted: Partial<Permissions>,
  update: (nodes: readonly LinkedNode[]) => void,
): void {
  if (!isPlain(wanted)) throw wrongValue('permissions', '{ taken, shared }', wanted)
  const { taken, shared, node } = user
  const after = { taken, shared, ...wanted }
  for (const bits of [after.taken, after.shared])
    if (!isCount(bits) || bits > ALL_PERMISSIONS) throw wrongValue('permissions', 'bits of PERMISSION', bits)
  if (after.taken & ~taken & ~PERMISSION.consistentRead && node.readOnly)
    throw new BlockError('EPERM', 'Block node is read-only', { node: node.name })
  user.taken = after.taken
  user.shared = after.shared
  try {
    update([node])
  } catch (error) {
    user.taken = taken
    user.shared = shared
    throw error
  }
}
