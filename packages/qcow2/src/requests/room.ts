/**
 * What waits to be written, or for a flush, has a bound. Clusters that were freed wait for a flush (frees.ts): when there
 * are too many of them one is made, and also before a request is told that there is no room (try-again.ts). Tables that
 * cannot be written count against their cache: when it is full of them, requests that would change more fail with what
 * writing met.
 *
 * The flush needs no space of its own: whatever it writes was given its place in the file before (l1.ts, fillTable;
 * refcount-growth.ts).
 */
import { isBlockError } from '@vmblock/block-core'
import type { Image } from '../image/image.ts'
import { applyFrees } from '../refcounts/allocate.ts'
import { flushImage } from './flush.ts'

const hasManyFrees = ({ frees, settings }: Image): boolean => frees.bytes > settings.freedClustersSize

/** Whether {@link makeRoomInCaches} has to be called before tables are changed. */
export const hasFullCache = ({ l2Tables, refblocks }: Image): boolean => l2Tables.isFull || refblocks.isFull

/** Whether a request that may allocate or free has to call {@link makeRoom} first. */
export const isCrammed = (image: Image): boolean => hasManyFrees(image) || hasFullCache(image)

/**
 * Flushes where more freed clusters wait than may, and writes back caches that hold nothing but changes. For callers
 * outside guest ranges and epochs: what is freed waits for the requests in flight.
 *
 * @throws what that met
 */
export async function makeRoom(image: Image): Promise<void> {
  if (hasManyFrees(image)) {
    // One flush serves all who come meanwhile.
    image.relief ??= relief(image).finally(() => {
      image.relief = undefined
    })
    await image.relief
  }
  if (hasFullCache(image)) await makeRoomInCaches(image)
}

/** The part of {@link makeRoom} for tables; may be called inside a request. @throws what writing them met */
export const makeRoomInCaches = (image: Image): Promise<void> =>
  image.lock.run(async () => {
    for (const cache of [image.l2Tables, image.refblocks]) if (cache.isFull) await cache.writeBack()
  })

/** Where most only waits for requests in flight, another flush would be of no use. */
const relief = (image: Image): Promise<void> =>
  image.frees.freshBytes * 2 > image.settings.freedClustersSize
    ? flushImage(image)
    : image.lock.run(() => applyFrees(image))

/** No space, in the file system, of the user, or in the numbers of the format. */
export const isForWantOfRoom = (error: unknown): boolean =>
  isBlockError(error, 'ENOSPC') || isBlockError(error, 'EDQUOT') || isBlockError(error, 'EFBIG')
