/** Refcounts raised ahead of their use, and given back: see reservation.ts. Runs under the image's lock. */
import type { Image } from '../image/image.ts'
import { addToRefcounts, getRefcount, takeFree } from './refcounts.ts'

/**
 * Takes `count` clusters: reserved ones, then free ones, together with those behind them, which become
 * reserved, at most to the end of a slice of refcounts. The file is extended over them: then only the
 * refcounts have to be durable before an L2 entry points at one.
 *
 * @returns index of the first one; undefined if they cannot be taken from the slice at the hint
 */
export async function takeAhead(image: Image, count: number): Promise<number | undefined> {
  const { reservation } = image
  const reserved = reservation.take(count)
  if (reserved !== undefined) return reserved
  await getRefcount(image, image.freeHint.at)
  const left = reservation.count
  // The free clusters do not follow the reserved ones, which are kept for a shorter request.
  if (left > 0 && image.freeHint.at !== reservation.end) return undefined
  const first = takeFree(image, count - left, image.settings.refcountReserve, left > 0)
  if (first === undefined) return undefined
  reservation.add(first, image.freeHint.at)
  await image.fileLength.reach(reservation.end * image.geometry.clusterSize)
  return reservation.take(count)
}

/** Releases the reserved clusters. Their refcounts are lowered in the cache: the caller writes it back. */
export async function releaseReserved(image: Image): Promise<void> {
  const { count } = image.reservation
  const first = image.reservation.take(count)
  if (count > 0) await addToRefcounts(image, first!, count, -1)
  if (!image.dirtyBit.isSet) await image.fileLength.trim()
}
