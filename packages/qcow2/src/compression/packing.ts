/**
 * Places for compressed clusters: several share a host cluster, each counted in its refcount. The next one goes behind the last, as in
 * QEMU; where that is, is known in memory alone ({@link Image.decompressed}), so each session begins a new host cluster. Runs under the
 * image's lock.
 */
import { alignDown, alignUp, BlockError } from '@vmblock/block-core/driver'
import { maxCompressedOffset } from '../format/l2-entry.ts'
import type { Image } from '../image/image.ts'
import { allocateClusters, releaseClusters } from '../refcounts/allocate.ts'
import { addToRefcounts, getRefcount } from '../refcounts/refcounts.ts'

/**
 * Takes `bytes` bytes, at most a cluster, and counts them in every host cluster that they touch. Until something durable points at
 * them, a crash leaks them.
 *
 * @returns host offset
 * @throws BlockError EFBIG, ENOSPC, or the error of the file
 */
export async function allocateBytes(image: Image, bytes: number): Promise<number> {
  const { clusterSize, clusterBits } = image.geometry
  const announced = image.file.debugEvent('cluster_alloc_bytes')
  if (announced) await announced
  let host = await openPlace(image)
  const end = alignUp(host, clusterSize)
  // With `host` 0, no cluster is open.
  if (host + bytes > end) {
    const { offset } = await allocateClusters(image, 1)
    if (offset === 0) {
      await releaseClusters(image, offset, clusterSize)
      throw await image.corruption.signal(
        'Preventing invalid allocation of compressed cluster at offset 0',
        true,
      )
    }
    if (host === 0 || offset !== end) host = offset
    else await countIn(image, host, offset)
  } else await countIn(image, host, 0)
  if (host + bytes > maxCompressedOffset(clusterBits)) {
    await releaseBytes(image, host, bytes)
    throw new BlockError('EFBIG', 'the image file is too long for compressed clusters', {
      node: image.settings.nodeName,
    })
  }
  image.decompressed.nextPlace = (host + bytes) % clusterSize === 0 ? 0 : host + bytes
  return host
}

/** Where the open host cluster goes on; 0 if there is none, or its refcount cannot be raised. */
async function openPlace(image: Image): Promise<number> {
  const { clusterSize } = image.geometry
  const place = image.decompressed.nextPlace
  if (place === 0) return 0
  const refcount = await getRefcount(image, Math.floor(place / clusterSize))
  // While it was read, nothing else ran that changes refcounts.
  return refcount < image.refcounts.max ? place : 0
}

/** Counts the next stream in the open cluster. @param taken host offset of a cluster that was allocated for its end, if any: released on failure */
async function countIn(image: Image, host: number, taken: number): Promise<void> {
  const { clusterSize } = image.geometry
  try {
    await addToRefcounts(image, Math.floor(host / clusterSize), 1, 1)
  } catch (error) {
    if (taken !== 0) await releaseClusters(image, taken, clusterSize)
    throw error
  }
}

/** Host offset of the end of the last host cluster that compressed data touches. */
export const endOf = (image: Image, host: number, bytes: number): number =>
  alignUp(host + bytes, image.geometry.clusterSize)

/** Gives bytes back that no entry points at. The place that they leave is not used again before its cluster is free. */
export function releaseBytes(image: Image, host: number, bytes: number): Promise<void> {
  const start = alignDown(host, image.geometry.clusterSize)
  return releaseClusters(image, start, endOf(image, host, bytes) - start)
}
