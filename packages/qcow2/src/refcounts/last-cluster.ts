/** Where the used part of an image file ends. Runs under the image's lock. */
import { divUp } from '@vmblock/block-core'
import type { Image } from '../image/image.ts'
import { lastUsed } from './refcounts.ts'

/**
 * How many clusters of the file lie before the end of the last one with a refcount; at least 1. Takes time for
 * the refcount blocks there are, however long the file says that it is.
 */
export const usedClusters = async (image: Image): Promise<number> =>
  Math.max(1, (await lastUsed(image, divUp(image.file.size, image.geometry.clusterSize))) + 1)
