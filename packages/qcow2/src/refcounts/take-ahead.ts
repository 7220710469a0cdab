/** Refcounts raised ahead of their use, and given back: see reservation.ts. Runs under the image's lock. */
import type { Image } from '../image/image.ts'
import { addToRefcounts, getRefcount, takeFree } from './refcounts.ts'

/**
 * Takes `count` clusters: reserved ones, else with those behind them, which are reserved from now on, at most to the
 * end of a slice of refcounts. The file is made to reach over them: then nothing but the refcounts has to be durable
 * before an L2 entry points at one.
 *
 * @returns index of the first one; undefined where the first free ones are not in the first slice that has any
 */
export async function takeAhead(image: Image, count: number): Promise<number | undefined> {
  const { reservation } = image
  const reserved = reservation.take(count)
  if (reserved !== undefined) return reserved
  await getRefcount(image, image.freeHint)
  const left = reservation.count
  // What is left, and does not go on behind its end, waits for a shorter request.
  if (left > 0 && image.freeHint !== reservation.end) return undefined
  const first = takeFree(image, count - left, image.settings.refcountReserve, left > 0)
  if (first === undefined) return undefined
  reservation.add(first, image.freeHint)
  await image.reachFile(reservation.end * image.geometry.clusterSize)
  return reservation.take(count)
}

/** Gives back what is reserved. Refcounts are lowered in the cache: the caller writes it back. */
export async function releaseReserved(image: Image): Promise<void> {
  const { count } = image.reservation
  const first = image.reservation.take(count)
  if (count > 0) await addToRefcounts(image, first!, count, -1)
  if (!image.dirty) await image.trimFile()
}
