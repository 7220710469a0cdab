/** A disk that ends somewhere: what would lie behind that is refused, as on a file system that is full. */
import { type AnyDriver, defineDriver, type NodeOps } from '../driver.ts'
import { passThrough } from '../drivers/pass-through.ts'
import { BlockError } from '../errors.ts'

/** A filter under which a file takes at most `most` bytes. It is given the bytes of the file when it was opened. */
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
      const ops: NodeOps = {
        ...passThrough(child),
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
      }
      return ops
    },
  })
