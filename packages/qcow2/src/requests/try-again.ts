/**
 * What becomes of a request that found no room: clusters that were freed, and wait for a flush, are freed for good, and
 * it is made again; then what is free, but not in a row, is used one by one. Only then is anybody told.
 */
import { alignDown, alignUp } from '@vmblock/block-core'
import type { FailedRequest, Image } from '../image/image.ts'
import { applyFrees } from '../refcounts/allocate.ts'
import { findFree } from '../refcounts/refcounts.ts'
import { flushImage } from './flush.ts'
import { isForWantOfRoom } from './room.ts'
import { write } from './write.ts'

/** A request is made again at most so often: others may take what a flush gave. */
const MOST_TRIES = 16

/** Makes a request again as long as there is something to be gained. @throws what it failed with at last */
export async function tryAgain<T>(image: Image, failed: FailedRequest, run: () => Promise<T>): Promise<T> {
  for (let { error, released, tries } = failed; ; tries++) {
    if (!isForWantOfRoom(error) || tries >= MOST_TRIES) throw error
    if (!(await gainRoom(image, released)) && !(await findHole(image))) throw error
    released = image.frees.released
    try {
      return await run()
    } catch (next) {
      error = next
    }
  }
}

/** The same for a write, which can be made in pieces. */
export async function writeAgain(
  image: Image,
  failed: FailedRequest,
  offset: number,
  from: Uint8Array,
): Promise<void> {
  const { error, released, tries } = failed
  if (tries >= MOST_TRIES) throw error
  const { clusterSize } = image.geometry
  const middle = alignDown(offset + Math.floor(from.length / 2), clusterSize) - offset
  const half = middle > 0 ? middle : alignUp(offset + 1, clusterSize) - offset
  if (await gainRoom(image, released)) return write(image, offset, from, tries + 1)
  if (!(await findHole(image))) throw error
  if (half >= from.length) return write(image, offset, from, tries + 1)
  // There is no room for all of its clusters in a row; there may be some for each.
  await write(image, offset, from.subarray(0, half))
  await write(image, offset + half, from.subarray(half))
}

/**
 * Frees what waits. The caller is outside guest ranges and epochs: what is freed waits for the requests in flight.
 *
 * @param released bytes that had been freed ({@link PendingFrees.released}) when the request began
 * @returns whether anything became free since
 */
async function gainRoom(image: Image, released: number): Promise<boolean> {
  while (image.relief) await image.relief.catch(() => undefined)
  if (image.frees.released === released && !image.frees.isEmpty) {
    image.relief = freeAll(image).finally(() => {
      image.relief = undefined
    })
    await image.relief.catch(() => undefined)
  }
  return image.frees.released !== released
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
function findHole(image: Image): Promise<boolean> {
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
