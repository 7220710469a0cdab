/**
 * Repeats requests that found no room. First, clusters that were freed and wait for a flush are freed for
 * good; then free clusters that are not contiguous are used one by one. Only when neither helps does the
 * request fail.
 */
import { alignDown, alignUp } from '@vmblock/block-core/driver'
import type { FailedRequest, Image } from '../image/image.ts'
import { applyFrees } from '../refcounts/allocate.ts'
import { findHole } from '../refcounts/find-hole.ts'
import { flushImage } from './flush.ts'
import { isForWantOfRoom } from './room.ts'
import { write } from './write.ts'

/** The most times a request is repeated: others may take what a flush frees. */
const MOST_TRIES = 16

/** Repeats a request as long as room can be gained. @throws the last error */
export async function tryAgain<T>(image: Image, failed: FailedRequest, run: () => Promise<T>): Promise<T> {
  for (let { error, released, tries } = failed; ; tries++) {
    if (!isForWantOfRoom(error) || tries >= MOST_TRIES) throw error
    if (!(await gainRoom(image, released)) && !(await image.lock.run(() => findHole(image)))) throw error
    released = image.frees.released
    try {
      return await run()
    } catch (next) {
      error = next
    }
  }
}

/** The same for a write, which can be split. */
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
  if (!(await image.lock.run(() => findHole(image)))) throw error
  if (half >= from.length) return write(image, offset, from, tries + 1)
  // There is no room for all of its clusters in a row, but perhaps for each by itself.
  await write(image, offset, from.subarray(0, half))
  await write(image, offset + half, from.subarray(half))
}

/**
 * Frees what waits. The caller must hold no guest range and no epoch: freeing waits for requests in flight.
 *
 * @param released bytes that had been freed ({@link PendingFrees.released}) when the request began
 * @returns whether anything became free since then
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
