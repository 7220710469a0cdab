/** Changing what a handle does with its root. Few applications need it: those that do not import it do not load it. */
import { expects, requireOptions, wrongValue } from '../base/arguments.ts'
import { ALL_PERMISSIONS, PERMISSION, type Permissions } from '../contract/permissions.ts'
import { linkedNode } from '../graph/known-nodes.ts'
import { requireNode } from '../graph/node-arguments.ts'
import { closedError, readOnlyError } from '../graph/node-errors.ts'
import { updatePermissions } from '../graph/permissions.ts'
import type { Disk } from './disk.ts'

const requireBits = expects(
  'bits of PERMISSION',
  (value) => typeof value === 'number' && value === (value & ALL_PERMISSIONS),
)

/**
 * Changes what a handle does with its root from now on, and lets others do: QEMU's `blk_set_perm`. What is not given
 * stays. A handle that does not take `write` is read-only; one that takes it writes whenever the root is writable. One
 * that does not share `write` keeps all writers away from what it reads.
 *
 * @param permissions bits of `PERMISSION`
 * @throws BlockError EINVAL; ENOMEDIUM; EPERM if the root is read-only; EBUSY if another user, or another process, is in
 *   the way: then nothing is changed
 */
export function setPermissions(disk: Disk, permissions: Partial<Permissions>): void {
  requireNode(disk, 'disk')
  requireOptions(permissions, 'permissions', { taken: requireBits, shared: requireBits })
  const node = linkedNode(disk)
  const user = [...node.users].find(({ handle }) => handle === disk)
  if (!user) throw disk.isOpen ? wrongValue('disk', 'what openNode returned', disk) : closedError(disk, false)
  const { taken, shared } = user
  const after = { taken, shared, ...permissions }
  if (!node.isOpen) throw closedError(disk, false)
  if (after.taken & ~taken & ~PERMISSION.consistentRead && node.readOnly) throw readOnlyError(node)
  Object.assign(user, after)
  try {
    updatePermissions([node])
  } catch (error) {
    Object.assign(user, { taken, shared })
    throw error
  }
}
