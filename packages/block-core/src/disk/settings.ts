/**
 * What few handles need: loaded when the first of them asks.
 *
 * No value is imported from what pages load at start: bundlers would split that into more files.
 */
import type { wrongValue } from '../base/arguments.ts'
import type { Permissions } from '../contract/permissions.ts'
import type { LinkedNode, NodeUser } from '../graph/links.ts'
import type { readOnlyError } from '../graph/node-errors.ts'
import type { updatePermissions } from '../graph/permissions.ts'

export { RequestWatch } from './request-watch.ts'

/** A handle's hold on its root, as the handle itself sees it. */
export type ChangingUser = { -readonly [K in keyof NodeUser]: NodeUser[K] } & { node: LinkedNode }

/** What {@link changePermissions} needs of the core. */
interface Core {
  readonly wrongValue: typeof wrongValue
  readonly readOnlyError: typeof readOnlyError
  readonly updatePermissions: typeof updatePermissions
}

const READ = 1
const ALL = 15

/** See `Disk.setPermissions`. @throws BlockError EINVAL, EPERM, EBUSY: then nothing is changed */
export function changePermissions(user: ChangingUser, wanted: Partial<Permissions>, core: Core): void {
  const { taken, shared, node } = user
  const after = { taken: wanted.taken ?? taken, shared: wanted.shared ?? shared }
  for (const bits of [after.taken, after.shared])
    if (bits !== (bits & ALL)) throw core.wrongValue('permissions', 'bits of PERMISSION', bits)
  if (after.taken & ~taken & ~READ && node.readOnly) throw core.readOnlyError(node)
  Object.assign(user, after)
  try {
    core.updatePermissions([node])
  } catch (error) {
    Object.assign(user, { taken, shared })
    throw error
  }
}
