/** The `indexeddb` protocol: a disk in the browser's database, for browsers without OPFS. */

import { BlockError } from '../base/errors.ts'
import { loadOnce } from '../base/load-once.ts'
import { defineDriver } from '../contract/driver.ts'
import { integer, text } from '../text/options.ts'
import { fromWebError } from './web-error.ts'

/** The disk, its database, and idb: most pages keep disks elsewhere, and do without all three. */
const loadDisk = loadOnce('disks in IndexedDB', () => import('./block-disk.ts'))

const options = {
  filename: text('Name of the disk'),
  lockTimeout: integer('Milliseconds to wait for another tab to let go of the disk', 2000),
}

/** @throws BlockError EINVAL, ENOTSUP */
function requireName(filename: string | undefined): string {
  if (!filename) throw new BlockError('EINVAL', `The 'indexeddb' block driver requires a name`)
  if (typeof indexedDB === 'undefined') throw new BlockError('ENOTSUP', 'there is no IndexedDB here')
  return filename
}

/**
 * Locks the disk for this tab: exclusively for writing, shared for reading. Web Locks API: the browser
 * releases the lock when the tab dies.
 *
 * @returns a function that releases the lock; resolves when others can take it
 * @throws BlockError EBUSY; ENOTSUP if there are no locks (pages not served securely)
 */
async function takeLock(name: string, readOnly: boolean, timeout: number): Promise<() => Promise<void>> {
  const { locks } = navigator
  if (!locks) throw new BlockError('ENOTSUP', 'there are no locks here: the page must be served securely')
  return new Promise((resolve, reject) => {
    // Not AbortSignal.timeout, whose signal may be garbage-collected.
    const tooLong = new AbortController()
    const timer = setTimeout(() => tooLong.abort(), Math.min(timeout, 2 ** 30))
    const held: Promise<unknown> = locks.request(
      `vmblock:indexeddb:${name}`,
      { mode: readOnly ? 'shared' : 'exclusive', signal: tooLong.signal },
      () =>
        new Promise<void>((release) => {
          clearTimeout(timer)
          resolve(() => {
            release()
            return held.then(
              () => undefined,
              () => undefined,
            )
          })
        }),
    )
    held.catch((cause: unknown) => {
      clearTimeout(timer)
      reject(
        new BlockError('EBUSY', `Could not open '${name}': it is open elsewhere, perhaps in another tab`, {
          cause,
        }),
      )
    })
  })
}

/** Runs `body` with the disk locked; the lock stays held only if `body` succeeds. */
async function locked<T>(
  name: string,
  readOnly: boolean,
  timeout: number,
  body: (release: () => Promise<void>) => Promise<T>,
): Promise<T> {
  const release = await takeLock(name, readOnly, timeout)
  try {
    return await body(release)
  } catch (error) {
    await release()
    throw fromWebError(error, `Could not open '${name}'`)
  }
}

/**
 * A disk in a database of the page's origin, stored in blocks of 64 KiB unless they are all zeroes. A flush
 * stores everything written since the last one in one transaction of durability "strict", which the browser
 * confirms when it is on persistent storage. If the page ends before, the disk is as it was, or as the last
 * 16 MiB of unflushed writes, which are stored together, left it. Quota errors are ENOSPC; changes that could
 * not be stored stay in memory, and the next flush stores them if there is room. Only one tab at a time can
 * write.
 */
export const indexedDb = defineDriver({
  name: 'indexeddb',
  kind: 'protocol',
  prefixes: ['indexeddb'],
  options,

  parseFilename: (filename) => ({ filename: filename.replace(/^indexeddb:(\/\/)?/, '') }),

  nameFromOptions: ({ filename, ...rest }) =>
    typeof filename === 'string' && Object.keys(rest).length === 0 ? `indexeddb:${filename}` : undefined,

  async open({ options: { filename, lockTimeout }, readOnly }) {
    const name = requireName(filename)
    return locked(name, readOnly, lockTimeout, async (release) => {
      const { BlockDisk, BlockStore } = await loadDisk()
      const store = await BlockStore.open(name)
      const disk = new BlockDisk(store)
      return {
        identity: `indexeddb:${name}`,
        growable: true,
        size: () => disk.size,
        read: (offset, into) => disk.read(offset, into),
        write: (offset, from) => disk.write(offset, from),
        async truncate(size, { preallocation = 'off' }) {
          if (preallocation !== 'off')
            throw new BlockError('ENOTSUP', `Unsupported preallocation mode '${preallocation}'`)
          await disk.truncate(size)
        },
        flush: () => disk.flush(),
        async close() {
          try {
            if (!readOnly) await disk.flush()
          } finally {
            store.close()
            await release()
          }
        },
        crash() {
          store.close()
          return release()
        },
      }
    })
  },

  async createFile({ filename, lockTimeout }, size, preallocation) {
    if (preallocation !== 'off')
      throw new BlockError('ENOTSUP', `Unsupported preallocation mode '${preallocation}'`)
    const name = requireName(filename)
    return locked(name, false, lockTimeout, async (release) => {
      const { BlockStore } = await loadDisk()
      const isNew = !(await BlockStore.isThere(name))
      await BlockStore.create(name, size)
      await release()
      return isNew ? { remove: () => removeDisk(name, lockTimeout) } : undefined
    })
  },
})

/** @throws BlockError EBUSY */
const removeDisk = (name: string, lockTimeout: number): Promise<void> =>
  locked(name, false, lockTimeout, async (release) => {
    const { BlockStore } = await loadDisk()
    await BlockStore.remove(name)
    await release()
  })
