/**
 * Files in the origin private file system that hold exported images while they are downloaded: on the disk, so that memory stays
 * small. Those of pages that are gone are removed by the next page that exports, or opens a disk there.
 */
import { BlockError, type BlockNode, openNode } from '@vmblock/block-core'
import type { ExportOptions } from './export-image.ts'
import type { SourceKit } from './open-source.ts'
import type { WorkerSource } from './source.ts'

/** An image to be downloaded. */
export interface ExportedImage extends AsyncDisposable {
  /** Its bytes, which are on the disk: `URL.createObjectURL(image.file)` for a link, `image.file.stream()` for a stream. */
  readonly file: File
  /** Gives its space back, once the download has ended: until then it counts for the quota. A page that ends does it too, late. */
  remove(): Promise<void>
}

/** How an image is exported to a file. */
export interface ExportFileOptions extends ExportOptions {
  /** What `file` is called. Default: `disk.qcow2`, `disk.raw`, or `overlay.qcow2` and the like for `as-is`. */
  readonly name?: string
  /** Makes the worker that writes the file for a page, or where its script is, where the usual one cannot be had. */
  readonly worker?: WorkerSource
}

const FOLDER = '.vmblock-exports'

const lockOf = (name: string): string => `vmblock:export:${name}`

/** TypeScript's library for workers knows no iteration of directories. */
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

/** Removes the files of pages that are gone. Failures do not matter: another page may be about to do the same. */
export async function removeLeftovers(): Promise<void> {
  try {
    const folder = await exportsFolder(false)
    for await (const name of (folder as unknown as Listing).keys())
      await navigator.locks.request(lockOf(name), { ifAvailable: true }, async (lock) => {
        if (lock) await folder.removeEntry(name).catch(() => undefined)
      })
  } catch {
    // There is no such folder, or no file system.
  }
}

/** Holds the lock that says of a file that its page is there. @returns lets it go */
function hold(name: string): Promise<() => void> {
  return new Promise((resolve, reject) => {
    navigator.locks
      .request(lockOf(name), () => new Promise<void>((release) => resolve(release)))
      .catch(reject)
  })
}

/**
 * Makes a file and has it filled.
 *
 * @param fill writes the image into an open, empty node
 * @throws BlockError ENOTSUP where there is no OPFS; what `fill` throws, and then nothing is left
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
    const place = { driver: 'opfs', filename: `${FOLDER}/${unique}`, ...(worker && { worker }) }
    const node = await openNode(environment, place)
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
