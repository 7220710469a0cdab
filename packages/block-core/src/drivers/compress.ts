/** The `compress` filter: whatever is written through it is written compressed, in whole clusters. */
import { BlockError } from '../base/errors.ts'
import { defineDriver } from '../contract/driver.ts'
import { forwardOps } from './pass-through.ts'

/**
 * QEMU's `compress`. The core makes whole clusters of all writes; as formats replace nothing by compressed data, the second write to
 * a cluster fails with EIO, unless it was zeroed or discarded in between.
 *
 * @throws BlockError (on opening) ENOTSUP over a format that does not compress
 */
export const compress = defineDriver({
  name: 'compress',
  kind: 'filter',
  async open(context) {
    const child = await context.requireChild('file')
    if (!child.node.ops.writeCompressed)
      throw new BlockError(
        'ENOTSUP',
        `Compression is not supported for underlying format: ${child.node.driver.name}`,
        { node: context.nodeName },
      )
    return forwardOps(child, {
      get limits() {
        const { limits } = child
        return {
          ...limits,
          requestAlignment: Math.max(limits.requestAlignment, limits.compressedAlignment),
        }
      },
      write: (offset, from) => child.writeCompressed(offset, from),
      // A flag that the child handles itself would not reach it.
      writeFlags: undefined,
    })
  },
})
