/** The end of the used part of an image file. Runs under the image's lock. */
import { divUp } from '@vmblock/block-core'
import type { Image } from '../image/image.ts'
import { lastUsed } from './refcounts.ts'

/**
 * How many clusters of the file lie before the end of the last one whose refcount is not 0; at least 1. The
 * time depends on the number of refcount blocks, not on the size that the file claims.
 */
export const usedClusters = async (image: Image): Promise<number> =>
  Math.max(1, (await lastUsed(image, divUp(image.file.size, image.geometry.clusterSize))) + 1)
