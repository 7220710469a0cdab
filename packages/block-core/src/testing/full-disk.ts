/** A disk with a size limit: requests beyond it are refused, as on a full file system. */

import { BlockError } from '../base/errors.ts'
import { type AnyDriver, defineDriver } from '../contract/driver.ts'
import { forwardOps } from '../drivers/pass-through.ts'

/** Makes a filter that limits its file to `most(size at opening)` bytes. */
export const fullDisk = (most: (atOpen: number) => number): AnyDriver =>
  defineDriver({
    name: 'full-disk',
    kind: 'filter',
    async open(context) {
      const child = await context.requireChild('file')
      const atOpen = child.size
      const require = (end: number): void => {
        if (end > most(atOpen)) throw new BlockError('ENOSPC', 'No space left on device')
      }
      return forwardOps(child, {
        async write(offset, from, flags) {
          require(offset + from.length)
          await child.write(offset, from, flags)
        },
        async writeZeroes(offset, bytes, flags) {
          require(offset + bytes)
          await child.writeZeroes(offset, bytes, flags)
        },
        async truncate(size, options) {
          if (size > child.size) require(size)
          await child.truncate(size, options)
        },
      })
    },
  })
