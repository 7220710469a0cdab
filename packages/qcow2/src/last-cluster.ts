/** Where the used part of an image file ends. Runs under the image's lock. */
import { divUp } from '@vmblock/block-core'
import type { Image } from './image.ts'
import { getRefcount, refblockIndexOf, refblockOffset, refcountTableEntries } from './refcounts.ts'

/**
 * How many clusters of the file lie before the end of the last one with a refcount; at least 1. Takes time for
 * the refcount blocks there are, however long the file says that it is.
 */
export async function usedClusters(image: Image): Promise<number> {
  const { clusterSize, refblockEntries } = image.geometry
  let clusters = Math.min(divUp(image.file.size, clusterSize), refcountTableEntries(image) * refblockEntries)
  while (clusters > 1) {
    const index = refblockIndexOf(image, clusters - 1)
    if (refblockOffset(image, index) === 0) clusters = Math.max(index * refblockEntries, 1)
    else if ((await getRefcount(image, clusters - 1)) === 0) clusters--
    else return clusters
  }
  return 1
}
