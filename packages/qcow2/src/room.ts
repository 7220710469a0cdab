/**
 * What waits to be written, or for a flush, has a bound; and no request is told that there is no space while a flush
 * would give some. Clusters that were freed wait for a flush (frees.ts): when there are too many of them, or the host
 * has no room, or the file cannot grow, one is made, and the request is tried again. Tables that cannot be written
 * count against their cache: when it is full of them, requests that would change more fail with what writing met.
 *
 * The flush needs no space of its own: whatever it writes was given its place in the file before (l1.ts, fillTable;
 * refcount-growth.ts). Everything here is for callers outside {@link Image.lock}, guest ranges and epochs: what is
 * freed waits for the requests in flight, and must not wait for itself.
 */
import { isBlockError } from '@vmblock/block-core'
import { applyFrees } from './allocate.ts'
import { flushImage } from './flush.ts'
import type { Image } from './image.ts'
import { findFree } from './refcounts.ts'

/** A request that finds no room is tried again at most so often: others may take what a flush gave. */
export const MOST_TRIES = 16

/** Whether a request that may allocate or free has to call {@link makeRoom} first. */
export const isCrammed = (image: Image): boolean =>
  image.frees.bytes > image.settings.freedClustersSize || hasFullCache(image)

/** Whether {@link makeRoomInCaches} has to be called before tables are changed. */
export const hasFullCache = ({ l2Tables, refblocks }: Image): boolean => l2Tables.isFull || refblocks.isFull

/** Flushes where more freed clusters wait than may, and writes back caches that hold nothing but changes. @throws what that met */
export async function makeRoom(image: Image): Promise<void> {
  if (image.frees.bytes > image.settings.freedClustersSize) await relieveFrees(image)
  await makeRoomInCaches(image)
}

/** The part of {@link makeRoom} for tables; may be called inside a request. @throws what writing them met */
export async function makeRoomInCaches(image: Image): Promise<void> {
  await image.lock.run(async () => {
    if (image.l2Tables.isFull) await image.l2Tables.writeBack()
    if (image.refblocks.isFull) await image.refblocks.writeBack()
  })
}

/** One flush serves all who come meanwhile. */
async function relieveFrees(image: Image): Promise<void> {
  image.relief ??= relief(image).finally(() => {
    image.relief = undefined
  })
  await image.relief
}

async function relief(image: Image): Promise<void> {
  // Where most only waits for requests in flight, another flush would be of no use.
  if (image.frees.freshBytes * 2 > image.settings.freedClustersSize) await flushImage(image)
  else await image.lock.run(() => applyFrees(image))
}

/**
 * A request failed that began when `released` bytes had been freed ({@link PendingFrees.released}): frees what waits,
 * if that may help. Returns where the request is to be tried again.
 *
 * @param tries how often it was tried again before
 * @throws `error` where nothing is to be gained
 */
export async function gainRoom(image: Image, error: unknown, released: number, tries: number): Promise<void> {
  if (!isForWantOfRoom(error) || tries >= MOST_TRIES) throw error
  while (image.relief) await image.relief.catch(() => undefined)
  if (image.frees.released !== released) return
  if (image.frees.isEmpty) throw error
  image.relief = freeAll(image).finally(() => {
    image.relief = undefined
  })
  await image.relief.catch(() => {
    throw error
  })
  if (image.frees.released === released) throw error
}

/** Frees everything that was unlinked before the call. */
async function freeAll(image: Image): Promise<void> {
  if (image.frees.freshBytes > 0) await flushImage(image)
  const { lastEpoch } = image.frees
  if (lastEpoch === undefined) return
  await image.requests.over(lastEpoch)
  await image.lock.run(() => applyFrees(image))
}

/**
 * Leads the search for free clusters back to one that it has passed over, when it looked for several in a row.
 *
 * @returns whether the file has one: then a request for a single cluster is worth another try
 */
export function findHole(image: Image): Promise<boolean> {
  const { lock, geometry, file } = image
  return lock.run(async () => {
    const hint = image.freeHint
    let first = hint
    image.freeHint = 0
    try {
      first = await findFree(image, 1)
    } finally {
      image.freeHint = Math.min(first, hint)
    }
    return first < hint && (first + 1) * geometry.clusterSize <= file.size
  })
}

/** No space, in the file system, of the user, or in the numbers of the format. */
export const isForWantOfRoom = (error: unknown): boolean =>
  isBlockError(error, 'ENOSPC') || isBlockError(error, 'EDQUOT') || isBlockError(error, 'EFBIG')

/** Runs a request; where it fails for want of room, frees what waits and runs it again. */
export async function withRoom<T>(image: Image, run: () => Promise<T>): Promise<T> {
  if (isCrammed(image)) await makeRoom(image)
  for (let tries = 0; ; tries++) {
    const { released } = image.frees
    try {
      return await run()
    } catch (error) {
      await gainRoom(image, error, released, tries).catch(async () => {
        if (!isForWantOfRoom(error) || tries >= MOST_TRIES || !(await findHole(image))) throw error
      })
    }
  }
}
