/** Cuts the image file behind its last cluster in use. */
import type { Image } from '../image/image.ts'
import { applyFrees } from './allocate.ts'
import { usedClusters } from './last-cluster.ts'

/**
 * Cuts unused clusters off the end of the image file, if it can shrink. Runs under the image's lock: no
 * request may allocate one of these clusters meanwhile.
 */
export async function trimFile(image: Image): Promise<void> {
  const { clusterSize } = image.geometry
  await applyFrees(image)
  if (!image.frees.isEmpty) return
  const end = (await usedClusters(image)) * clusterSize
  if (end >= image.file.size) return
  await image.fileLength.cut(end).catch((error: unknown) => {
    image.events.warn(
      `Failed to truncate the tail of the image: ${error instanceof Error ? error.message : String(error)}`,
    )
  })
}
