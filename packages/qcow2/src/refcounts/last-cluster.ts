/** The end of the used part of an image file. Runs under the image's lock. */
import { divUp } from '@vmblock/block-core/driver'
import type { Image } from '../image/image.ts'
import { loadSlice, refblockIndexOf, refcountTableEntries, sliceEntries, sliceOf } from './refcounts.ts'
import { ScanBudget } from './scan-budget.ts'

/**
 * How many clusters of the file lie before the end of the last one whose refcount is not 0; at least 1. The
 * time depends on the number of refcount blocks, not on the size that the file claims.
 */
export const usedClusters = async (image: Image): Promise<number> =>
  Math.max(1, (await lastUsed(image, divUp(image.file.size, image.geometry.clusterSize))) + 1)

/**
 * Index of the last cluster below `end` whose refcount is not 0; -1 if there is none. If the search takes too
 * long, because the blocks lie in holes, the index of some cluster at or behind the last one.
 */
async function lastUsed(image: Image, end: number): Promise<number> {
  const { refblockEntries } = image.geometry
  const entries = sliceEntries(image)
  const budget = new ScanBudget(image)
  let cluster = Math.min(end, refcountTableEntries(image) * refblockEntries) - 1
  while (cluster >= 0) {
    const offset = await sliceOf(image, cluster)
    if (offset === 0) {
      cluster = refblockIndexOf(image, cluster) * refblockEntries - 1
      continue
    }
    if (budget.spend(image.refblocks.sliceSize) && !(await budget.extend())) return cluster
    const { bytes } = image.refblocks.peek(offset) ?? (await loadSlice(image, offset))
    const first = cluster - (cluster % entries)
    for (; cluster >= first; cluster--) if (image.refcounts.get(bytes, cluster - first) !== 0) return cluster
  }
  return -1
}
