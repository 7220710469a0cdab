/** The `copy-on-read` filter: data read from a backing file is written into the image above it. */
import { alignDown, alignUp, isZero } from '../base/bits.ts'
import { BlockError } from '../base/errors.ts'
import { RangeTracker } from '../base/range-tracker.ts'
import { filteredAndFilled } from '../contract/child-kinds.ts'
import { defineDriver } from '../contract/driver.ts'
import type { BlockChild } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { aroundRequests } from './around-requests.ts'
import { forwardOps } from './pass-through.ts'

/** Most bytes copied at once: QEMU's MAX_BOUNCE_BUFFER (block/io.c). */
const LONGEST_COPY = 128 * 2 ** 20

/**
 * Reads through the child, and writes data that the child's own layer does not hold yet to it, in whole
 * clusters. Zeroes become zero clusters, so that a later change of the backing file cannot show through.
 */
function copyingReads(child: BlockChild, clusterSize: number): NodeOps['read'] {
  return async (offset, into) => {
    const unit = Math.max(clusterSize, child.limits.requestAlignment)
    const end = offset + into.length
    for (let at = offset; at < end; ) {
      const status = await child.blockStatus(at, end - at)
      const length = Math.min(Math.max(status.bytes, 1), end - at)
      if (status.allocated) {
        await child.read(at, into.subarray(at - offset, at - offset + length))
        at += length
        continue
      }
      const start = alignDown(at, unit)
      const stop = Math.min(alignUp(at + length, unit), start + Math.max(unit, LONGEST_COPY), child.size)
      const copy = new Uint8Array(stop - start)
      await child.read(start, copy)
      await child.debugEvent('cor_write')
      if (isZero(copy)) await child.writeZeroes(start, copy.length)
      else await child.write(start, copy)
      const wanted = Math.min(stop, end)
      into.set(copy.subarray(at - start, wanted - start), at - offset)
      at = wanted
    }
  }
}

/** QEMU's filter of that name, which its `-C` and `copy-on-read=on` insert. */
export const copyOnRead = defineDriver({
  name: 'copy-on-read',
  kind: 'filter',
  children: { file: filteredAndFilled },

  async open(context): Promise<NodeOps> {
    const child = await context.requireChild('file')
    if (child.readOnly) throw new BlockError('EPERM', 'Block node is read-only', { node: context.nodeName })
    const { clusterSize = 1 } = await child.node.info()
    const ranges = new RangeTracker()
    const below = forwardOps(child, { read: copyingReads(child, clusterSize) })
    return aroundRequests(below, ({ kind, offset, bytes }, run) => {
      if (kind === 'flush' || kind === 'truncate' || kind === 'blockStatus') return run()
      // A copy must not overwrite data written between the copy's read and its write.
      const start = alignDown(offset, clusterSize)
      return ranges.run(start, alignUp(offset + bytes, clusterSize) - start, kind === 'read', run)
    })
  },
})
