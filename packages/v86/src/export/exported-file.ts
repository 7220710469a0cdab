/**
 * Files in the origin private file system that hold exported images while they are downloaded: on disk, to
 * save memory. Files of pages that are gone are removed by the next page that exports, or opens a disk there.
 */
import { BlockError, type BlockNode, openNode } from '@vmblock/block-core'
import type { SourceKit, WorkerSource } from '@vmblock/sources'
import type { ExportOptions } from './export-image.ts'

/** An image for download. */
export interface ExportedImage extends AsyncDisposable {
  /** The bytes, on disk: `URL.createObjectURL(image.file)` for a link, `image.file.stream()` for a stream. */
  readonly file: File
  /**
   * Removes the file, to be called after the download: until then it counts for the quota. The file of a page
   * that ended is removed later.
   */
  remove(): Promise<void>
}

/** Options of an export to a file. */
export interface ExportFileOptions extends ExportOptions {
  /** The name of `file`. Default: `disk.qcow2`, `disk.raw`, or `overlay.qcow2` and the like for `as-is`. */
  readonly name?: string
  /** Makes the worker that writes for a page, or is the URL of its script. Default: the bundled one. */
  readonly worker?: WorkerSource
}

const FOLDER = '.vmblock-exports'

const lockOf = (name: string): string => `vmblock:export:${name}`

/** TypeScript's library for workers lacks iteration of directories. */
interface Listing {
  keys(): AsyncIterableIterator<string>
}

async function exportsFolder(create: boolean): Promise<FileSystemDirectoryHandle> {
  const { storage, locks } = globalThis.navigator ?? {}
  if (typeof storage?.getDirectory !== 'function' || !locks)
    throw new BlockError(
      'ENOTSUP',
      'images are exported through the origin private file system, which is not here',
    )
  return (await storage.getDirectory()).getDirectoryHandle(FOLDER, { create })
}

/** Removes the files of pages that are gone. Failures are ignored: another page may be doing the same. */
export async function removeLeftovers(): Promise<void> {
  try {
    const folder = await exportsFolder(false)
    for await (const name of (folder as unknown as Listing).keys())
      await navigator.locks.request(lockOf(name), { ifAvailable: true }, async (lock) => {
        if (lock) await folder.removeEntry(name).catch(() => undefined)
      })
  } catch {
    // The folder does not exist, or there is no file system.
  }
}

/** Takes the lock that marks a file's page as alive. @returns a function that releases it */
function hold(name: string): Promise<() => void> {
  return new Promise((resolve, reject) => {
    navigator.locks
      .request(lockOf(name), () => new Promise<void>((release) => resolve(release)))
      .catch(reject)
  })
}

/**
 * Creates a file and fills it.
 *
 * @param fill writes the image into an open, empty node
 * @throws BlockError ENOTSUP without OPFS; errors of `fill`, and then no file is left
 */
export async function exportToFile(
  { environment }: Pick<SourceKit, 'environment'>,
  { name, worker }: { readonly name: string; readonly worker?: WorkerSource | undefined },
  fill: (file: BlockNode) => Promise<void>,
): Promise<ExportedImage> {
  await removeLeftovers()
  const folder = await exportsFolder(true)
  const unique = crypto.randomUUID()
  const release = await hold(unique)
  const remove = async (): Promise<void> => {
    await folder.removeEntry(unique).catch(() => undefined)
    release()
  }
  try {
    const handle = await folder.getFileHandle(unique, { create: true })
    const options = { driver: 'opfs', filename: `${FOLDER}/${unique}`, ...(worker && { worker }) }
    const node = await openNode(environment, options)
    try {
      await fill(node)
    } finally {
      await node.close()
    }
    const file = new File([await handle.getFile()], name, { type: 'application/octet-stream' })
    return { file, remove, [Symbol.asyncDispose]: remove }
  } catch (error) {
    await remove()
    throw error
  }
}
