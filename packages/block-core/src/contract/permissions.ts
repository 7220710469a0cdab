/**
 * What the users of a node do with it: QEMU's permissions.
 */

/** What the users of a node do with it, and what others may do with it meanwhile: bits of `PERMISSION`. */
export interface Permissions {
  readonly taken: number
  readonly shared: number
}

/** The second half of a permission change. Exactly one of the two methods is called. */
export interface PreparedPermissions {
  commit(): void
  abort(): void
}

/** The permissions, as bits. Their order is that of the bytes that QEMU locks. */
export const PERMISSION = { consistentRead: 1, write: 2, writeUnchanged: 4, resize: 8 } as const

/** All permissions. */
export const ALL_PERMISSIONS = 15

/** QEMU's names of the permissions, in the order of their bits. */
export const PERMISSION_NAMES = ['consistent read', 'write', 'write unchanged', 'resize'] as const

/** The names of the permissions in `bits`. */
export const permissionNames = (bits: number): readonly string[] =>
  PERMISSION_NAMES.filter((_, bit) => (bits >> bit) & 1)
