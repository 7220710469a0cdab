/** The `indexeddb` protocol: a disk in the browser's database, for where there is no OPFS. */
import { defineDriver } from '../driver.ts'
import { BlockError } from '../errors.ts'
import { integer, text } from '../options.ts'
import { BlockDisk } from './block-disk.ts'
import { BlockStore } from './block-store.ts'
import { fromWebError } from './web-error.ts'

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
 * Takes the disk for this tab: alone for writing, with others for reading. Web Locks API: the browser gives the lock
 * back when the tab dies.
 *
 * @returns gives it back; resolves when others can have it
 * @throws BlockError EBUSY; ENOTSUP where there are no locks (pages that are not served securely)
 */
async function takeLock(name: string, readOnly: boolean, timeout: number): Promise<() => Promise<void>> {
  const { locks } = navigator
  if (!locks) throw new BlockError('ENOTSUP', 'there are no locks here: the page must be served securely')
  return new Promise((resolve, reject) => {
    // A timer of our own, which nothing takes away: signals of timeouts may be collected as garbage.
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

/** Runs `body` with the disk taken; keeps it for `body`'s caller only if that succeeds. */
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
 * A disk in a database of the page's origin, blocks of 64 KiB that are not all zeroes. A flush stores everything that was
 * written since the last one as one transaction of durability "strict", which the browser confirms when the disk has it;
 * a page that ends before leaves the disk as it was, or as 16 MiB of writes without a flush have made it. Quota
 * errors are ENOSPC; what could not be stored stays in memory, and the next flush stores it when there is room. One tab at a
 * time writes.
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
      const store = await BlockStore.open(name)
      const disk = new BlockDisk(store)
      return {
        place: `indexeddb:${name}`,
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

  async createPlace({ filename, lockTimeout }, size, preallocation) {
    if (preallocation !== 'off')
      throw new BlockError('ENOTSUP', `Unsupported preallocation mode '${preallocation}'`)
    const name = requireName(filename)
    return locked(name, false, lockTimeout, async (release) => {
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
    await BlockStore.remove(name)
    await release()
  })
