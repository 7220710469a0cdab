/**
 * The `file-handle` protocol: the bytes of a `FileHandle` that the application has opened, for files that have no path, or
 * that it may reach in no other way. The handle stays open, and the application's.
 */
import { BlockError } from '../base/errors.ts'
import { type FileHandleLike, isFileHandle } from '../base/platform-types.ts'
import { defineDriver } from '../contract/driver.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { objectOf } from '../text/options.ts'
import { fromHostError } from './host-error.ts'

const failed =
  (what: string) =>
  (error: unknown): never => {
    throw fromHostError(error, what)
  }

/** The bytes of an open file. Whether they can be written is known when they are. */
export const fileHandle = defineDriver({
  name: 'file-handle',
  kind: 'protocol',
  options: { handle: objectOf(isFileHandle, 'a FileHandle', 'the open file') },
  async open({ options }) {
    const handle = handleOf(options)
    return operations(handle, await handle.stat().catch(failed('Could not open the file handle')))
  },
  /** The file exists: it is emptied. */
  async createFile(options) {
    await handleOf(options).truncate(0).catch(failed('Could not empty the file'))
    return undefined
  },
})

/** @throws BlockError EINVAL */
function handleOf({ handle }: { readonly handle: FileHandleLike | undefined }): FileHandleLike {
  if (handle) return handle
  throw new BlockError('EINVAL', "The 'file-handle' block driver requires a handle")
}

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
