/** Checks that an argument is a disk: v86's own images look alike. */
import { isBlockNode } from '@vmblock/block-core'
import { expects } from '@vmblock/block-core/driver'
import type { BufferedDisk } from './buffered-disk.ts'

/** A disk of any copy of this package. */
export const requireDisk = expects('a disk of v86Disk', (value) => {
  const { node, guestFlush } = (value ?? {}) as Partial<BufferedDisk>
  return isBlockNode(node) && typeof guestFlush === 'function'
})
