/**
 * The `file-handle` protocol: the bytes of a `FileHandle` that the application has opened, for files that have no path,
 * or that it may reach only in this way. The handle stays the application's, and stays open.
 */
import { BlockError, defineDriver, type NodeOps, objectOf } from '@vmblock/block-core/driver'
import { fromHostError } from '@vmblock/block-core/node'
import type { FileHandleLike } from '../platform/source.ts'

/** Whether a value is a `FileHandle`, of any version of Node. */
export const isFileHandle = (value: unknown): value is FileHandleLike => {
  const { fd, read, sync } = (value ?? {}) as Partial<FileHandleLike>
  return typeof fd === 'number' && typeof read === 'function' && typeof sync === 'function'
}

const failed =
  (what: string) =>
  (error: unknown): never => {
    throw fromHostError(error, what)
  }

/** The bytes of an open file. Whether it can be written is known when it is. */
export const fileHandle = defineDriver({
  name: 'file-handle',
  kind: 'protocol',
  options: { handle: objectOf(isFileHandle, 'a FileHandle', 'the open file') },
  async open({ options }) {
    const { handle } = options
    if (!handle) throw new BlockError('EINVAL', "The 'file-handle' block driver requires a handle")
    return operations(handle, await handle.stat().catch(failed('Could not open the file handle')))
  },
})

function operations(handle: FileHandleLike, stats: Awaited<ReturnType<FileHandleLike['stat']>>): NodeOps {
  let { size } = stats
  return {
    // That of the `file` driver, so that two disks never write to one file.
    identity: `file:${stats.dev}:${stats.ino}`,
    growable: true,
    size: () => size,

    async read(offset, into) {
      for (let done = 0; done < into.length; ) {
        const { bytesRead } = await handle
          .read(into, done, into.length - done, offset + done)
          .catch(failed('Could not read the file'))
        if (bytesRead === 0) {
          into.fill(0, done)
          return
        }
        done += bytesRead
      }
    },

    async write(offset, from) {
      for (let done = 0; done < from.length; ) {
        const { bytesWritten } = await handle
          .write(from, done, from.length - done, offset + done)
          .catch(failed('Could not write the file'))
        done += bytesWritten
      }
      size = Math.max(size, offset + from.length)
    },

    async truncate(bytes) {
      await handle.truncate(bytes).catch(failed('Could not resize the file'))
      size = bytes
    },

    flush: () => handle.sync().catch(failed('Could not flush the file')),
  }
}
