/** The `snapshot-access` driver: shows a disk as it was when the filter `copy-before-write` below was opened. */
import { BlockError } from '../base/errors.ts'
import { defineDriver } from '../contract/driver.ts'
import type { NodeOps, SnapshotAccess } from '../contract/node-ops.ts'
import { ALL_PERMISSIONS } from '../contract/permissions.ts'

/**
 * QEMU's driver of that name. Its disk can be read, and discarded where it is needed no longer: that is then not kept, and
 * cannot be read any more (EACCES). Over any other node than `copy-before-write` all requests fail with ENOTSUP.
 */
export const snapshotAccess = defineDriver({
  name: 'snapshot-access',
  kind: 'format',
  children: {
    file: {
      // The filter below reads and writes; this node asks it to.
      permissions: () => ({ taken: 0, shared: ALL_PERMISSIONS }),
      isPrimary: true,
      opens: 'probed',
    },
  },
  nameFromOptions: (_options, child) => child || undefined,

  async open({ requireChild, nodeName }): Promise<NodeOps> {
    const child = await requireChild('file')
    const refused = (): BlockError =>
      new BlockError('ENOTSUP', `${nodeName} shows a snapshot, which cannot be written`, { node: nodeName })
    const access = (): SnapshotAccess => {
      const { snapshotAccess: found } = child.node.ops
      if (!found) throw new BlockError('ENOTSUP', `${child.node} keeps no snapshot`, { node: nodeName })
      return found
    }
    const size = child.node.ops.snapshotAccess?.size ?? child.size
    return {
      size: () => size,
      read: async (offset, into) => access().read(offset, into),
      blockStatus: async (offset, bytes) => access().blockStatus(offset, bytes),
      discard: async (offset, bytes) => access().discard(offset, bytes),
      write: () => Promise.reject(refused()),
      writeZeroes: () => Promise.reject(refused()),
    }
  },
})
