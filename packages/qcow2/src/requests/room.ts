/**
 * Bounds what waits to be written or flushed. Freed clusters wait for a flush (frees.ts): when there are too
 * many of them, a flush is made, as it is before a request fails for lack of room (try-again.ts). Tables that
 * cannot be written fill their cache: when it is full of them, requests that would change more fail with the
 * error of the writes.
 *
 * The flush needs no space of its own: everything that it writes was given space in the file before (l1.ts,
 * fillTable; refcount-growth.ts).
 */
import { isBlockError } from '@vmblock/block-core/driver'
import type { Image, MaintenanceCode } from '../image/image.ts'
import { applyFrees } from '../refcounts/allocate.ts'
import { flushImage } from './flush.ts'

const hasManyFrees = ({ frees, settings }: Image): boolean => frees.bytes > settings.freedClustersSize

/** Whether {@link makeRoomInCaches} has to be called before tables are changed. */
export const hasFullCache = ({ l2Tables, refblocks }: Image): boolean => l2Tables.isFull || refblocks.isFull

/** Whether a request that may allocate or free has to call {@link makeRoom} first. */
export const isCrammed = (image: Image): boolean => hasManyFrees(image) || hasFullCache(image)

/**
 * Flushes if too many freed clusters wait, and writes back caches that are full of changes. The caller must
 * hold no guest range and no epoch: freeing waits for requests in flight.
 *
 * @throws the error of the flush or of the writes
 */
export async function makeRoom(image: Image): Promise<void> {
  if (hasManyFrees(image)) {
    // One flush serves all requests that come meanwhile.
    image.relief ??= relief(image).finally(() => {
      image.relief = undefined
    })
    await image.relief
  }
  if (hasFullCache(image)) await makeRoomInCaches(image)
}

/**
 * The part of {@link makeRoom} for tables; may be called inside a request.
 *
 * @throws the error of writing them
 */
export const makeRoomInCaches = (image: Image): Promise<void> =>
  image.lock.run(async () => {
    for (const cache of [image.l2Tables, image.refblocks]) if (cache.isFull) await cache.writeBack()
  })

/**
 * Writes tables back when half of a cache is dirty, so that memory stays bounded. Takes the image's lock.
 *
 * @returns undefined if nothing had to be done
 */
export function relieve(image: Image): Promise<void> | undefined {
  const { l2Tables, refblocks } = image
  if (!l2Tables.isCrowded && !refblocks.isCrowded) return undefined
  return image.lock.run(async () => {
    if (l2Tables.isCrowded) await l2Tables.writeBack()
    if (refblocks.isCrowded) await refblocks.writeBack()
  })
}

/** Flushes; or only applies frees that are due, if most of them just wait for requests in flight. */
const relief = (image: Image): Promise<void> =>
  image.frees.freshBytes * 2 > image.settings.freedClustersSize
    ? flushImage(image)
    : image.lock.run(() => applyFrees(image))

/** Whether an error means no space: on the file system, in a quota, or within the format's limits. */
export const isForWantOfRoom = (error: unknown): boolean =>
  isBlockError(error, 'ENOSPC') || isBlockError(error, 'EDQUOT') || isBlockError(error, 'EFBIG')

/**
 * Loads the code that repeats a request that failed with `error`.
 *
 * @throws `error` if the code cannot be loaded
 */
export const rescue = (image: Image, error: unknown): Promise<MaintenanceCode> =>
  image.loadMaintenance().catch(() => {
    throw error
  })
