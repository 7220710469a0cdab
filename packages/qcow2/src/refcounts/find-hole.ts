/** Where single free clusters are left when no longer run of them is. Runs under the image's lock. */
import type { Image } from '../image/image.ts'
import { findFree } from './refcounts.ts'

/**
 * Moves the hint back to a free cluster that was passed over in a search for several in a row.
 *
 * @returns whether there is one within the file: then a request for a single cluster is worth another try
 */
export async function findHole(image: Image): Promise<boolean> {
  const { freeHint, geometry, file } = image
  const hint = freeHint.at
  let first = hint
  freeHint.moveTo(0)
  try {
    first = await findFree(image, 1)
  } finally {
    freeHint.moveTo(Math.min(first, hint))
  }
  return first < hint && (first + 1) * geometry.clusterSize <= file.size
}
