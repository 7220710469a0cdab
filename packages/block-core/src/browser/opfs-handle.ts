/**
 * One file of the origin private file system, through its synchronous access handle, which only dedicated
 * workers can open. File System Standard, section "FileSystemSyncAccessHandle".
 */

import { BlockError } from '../base/errors.ts'
import type { Patience } from '../contract/node-ops.ts'
import { fromWebError } from './web-error.ts'

/** How to open a file. */
export interface OpfsRequest {
  /** Names of directories and of the file, with slashes between them. */
  readonly path: string
  readonly readOnly: boolean
  /** Whether to create the file and its directories if they do not exist; otherwise that is ENOENT. */
  readonly create: boolean
  /** Milliseconds to wait for another holder to close the file. */
  readonly lockTimeout: number
}

/** An open file. All offsets and lengths are bytes. */
export interface OpfsFile {
  /** Size in bytes when it was opened. */
  readonly initialSize: number
  /** Fills all of `into`; bytes beyond the end read as zeroes. */
  read(offset: number, into: Uint8Array): Promise<void>
  /** Writes all of `from`, which must not change until then. @throws BlockError ENOSPC for the quota */
  write(offset: number, from: Uint8Array): Promise<void>
  truncate(size: number): Promise<void>
  flush(): Promise<void>
  /** Closes the file, so that others can open it. */
  close(): Promise<void>
  /** Closes the file soon, by force if needed; never rejects. */
  abandon(): Promise<void>
  /** See {@link NodeOps.setPatience}. Absent: no call waits for anything. */
  setPatience?(patience: Patience): void
}

/** TypeScript 5.9 does not know modes of handles, which Chromium has had since version 121. */
interface ModalFileHandle extends FileSystemFileHandle {
  createSyncAccessHandle(options?: {
    readonly mode: 'read-only' | 'readwrite' | 'readwrite-unsafe'
  }): Promise<FileSystemSyncAccessHandle>
}

/** Milliseconds between attempts to open a file that is held elsewhere: there is no event for its release. */
const LOCK_POLL = 50

/** Whether this code can open handles: in a dedicated worker of a browser that has them. */
export const canOpenHandles = (): boolean =>
  typeof FileSystemFileHandle !== 'undefined' && 'createSyncAccessHandle' in FileSystemFileHandle.prototype

/** Splits a path. @throws BlockError EINVAL for a name that such a file system cannot have */
export function partsOf(path: string): { readonly directories: readonly string[]; readonly name: string } {
  const parts = path.split('/').filter((part) => part !== '')
  const name = parts.pop()
  if (
    name === undefined ||
    [...parts, name].some((part) => part === '.' || part === '..' || part.includes('\0'))
  )
    throw new BlockError('EINVAL', `'${path}' is no name of a file in the origin private file system`)
  return { directories: parts, name }
}

/**
 * Opens a file; opening for writing is exclusive.
 *
 * @throws BlockError ENOENT, EISDIR, EINVAL; EBUSY while it is open elsewhere
 */
export async function openHandle(request: OpfsRequest): Promise<OpfsFile> {
  const { path, readOnly, create } = request
  const { directories, name } = partsOf(path)
  try {
    let directory = await navigator.storage.getDirectory()
    for (const part of directories) directory = await directory.getDirectoryHandle(part, { create })
    const file = (await directory.getFileHandle(name, { create })) as ModalFileHandle
    const handle = await whenFree(request, () =>
      file.createSyncAccessHandle({ mode: readOnly ? 'read-only' : 'readwrite' }),
    )
    return new HandleFile(handle, path)
  } catch (error) {
    throw fromWebError(error, `Could not open '${path}'`)
  }
}

const isBusy = (error: unknown): boolean => (error as Error).name === 'NoModificationAllowedError'

/** Retries while the file is busy: a tab that was closed a moment ago may still hold its files. */
async function whenFree<T>(
  { path, lockTimeout }: Pick<OpfsRequest, 'path' | 'lockTimeout'>,
  open: () => Promise<T>,
): Promise<T> {
  const start = performance.now()
  for (;;) {
    try {
      return await open()
    } catch (error) {
      if (!isBusy(error)) throw error
      if (performance.now() - start >= lockTimeout)
        throw new BlockError(
          'EBUSY',
          `Could not open '${path}': it is open elsewhere, perhaps in another tab`,
          {
            cause: error,
          },
        )
    }
    await new Promise((resolve) => setTimeout(resolve, LOCK_POLL))
  }
}

const isMissing = (error: unknown): boolean => (error as Error).name === 'NotFoundError'

/** The existing directories of a path, from the root, and the names of all its parts. Works in pages, too. */
async function parentsOf(path: string) {
  const { directories, name } = partsOf(path)
  const parents = [await navigator.storage.getDirectory()]
  for (const part of directories) {
    const next = await parents
      .at(-1)!
      .getDirectoryHandle(part)
      .catch((error: unknown) => {
        if (!isMissing(error)) throw error
      })
    if (!next) break
    parents.push(next)
  }
  return { parents, names: [...directories, name] }
}

/** Counts the missing parts at the end of a path: 0 if the file exists, 1 if only its directory does. */
export async function missingParts(path: string): Promise<number> {
  try {
    const { parents, names } = await parentsOf(path)
    if (parents.length < names.length) return names.length - parents.length + 1
    await parents.at(-1)!.getFileHandle(names.at(-1)!)
    return 0
  } catch (error) {
    if (isMissing(error)) return 1
    throw fromWebError(error, `Could not open '${path}'`)
  }
}

/**
 * Removes the last `count` parts of a path, if they exist and hold nothing but one another. A worker that
 * ended a moment ago may still hold the file.
 *
 * @throws BlockError EBUSY while the file is open elsewhere
 */
export async function removeParts(path: string, count: number, lockTimeout: number): Promise<void> {
  if (count === 0) return
  try {
    const { parents, names } = await parentsOf(path)
    for (let i = names.length - 1; i >= names.length - count; i--) {
      const [parent, name] = [parents[i], names[i]!]
      if (!parent) continue
      try {
        await whenFree({ path, lockTimeout }, () => parent.removeEntry(name))
      } catch (error) {
        // Something else was put into the directory meanwhile: it stays, and so do those above it.
        if ((error as Error).name === 'InvalidModificationError') return
        if (!isMissing(error)) throw error
      }
    }
  } catch (error) {
    throw fromWebError(error, `Could not remove '${path}'`)
  }
}

class HandleFile implements OpfsFile {
  readonly initialSize: number
  readonly #handle: FileSystemSyncAccessHandle
  readonly #path: string

  constructor(handle: FileSystemSyncAccessHandle, path: string) {
    this.#handle = handle
    this.#path = path
    this.initialSize = handle.getSize()
  }

  async read(offset: number, into: Uint8Array): Promise<void> {
    const count = this.#do('read', () => this.#handle.read(into, { at: offset }))
    if (count < into.length) into.fill(0, count)
  }

  async write(offset: number, from: Uint8Array): Promise<void> {
    for (let done = 0; done < from.length; ) {
      const count = this.#do('write to', () => this.#handle.write(from.subarray(done), { at: offset + done }))
      if (count === 0)
        throw new BlockError('ENOSPC', `Could not write to '${this.#path}': it takes no more data`)
      done += count
    }
  }

  async truncate(size: number): Promise<void> {
    this.#do('resize', () => this.#handle.truncate(size))
  }
  async flush(): Promise<void> {
    this.#do('flush', () => this.#handle.flush())
  }
  async close(): Promise<void> {
    this.#do('close', () => this.#handle.close())
  }
  async abandon(): Promise<void> {
    await this.close().catch(() => undefined)
  }

  #do<T>(what: string, run: () => T): T {
    try {
      return run()
    } catch (error) {
      throw fromWebError(error, `Could not ${what} '${this.#path}'`)
    }
  }
}
