/** Allocates and releases host clusters, and frees unlinked ones. Runs under the image's lock. */
import { BlockError } from '@vmblock/block-core/driver'
import type { Allocated } from '../image/cluster-store.ts'
import type { Freed } from '../image/frees.ts'
import type { Image } from '../image/image.ts'
import { ensureRefblocks } from './refcount-growth.ts'
import { addToRefcounts, findFree, takeFree } from './refcounts.ts'
import { takeAhead } from './take-ahead.ts'

/**
 * Takes `count` contiguous clusters, with refcount 1 in the cache. Until something durable points at them, a
 * crash leaks them.
 *
 * @returns no promise if a cached refcount block has room: nearly always
 * @throws BlockError EFBIG, ENOSPC, or the error of the file
 */
export function allocateClusters(image: Image, count: number): Allocated | Promise<Allocated> {
  // With a debugger below, take the slow path: it announces each step.
  const first = image.isDebugged ? undefined : takeAtOnce(image, count)
  if (first !== undefined && image.file.node.growable) return taken(image, first, count)
  return allocateSlowly(image, count, first)
}

/** @param found first cluster, if taken already */
async function allocateSlowly(image: Image, count: number, found: number | undefined): Promise<Allocated> {
  const allocated = found === undefined ? await searchClusters(image, count) : taken(image, found, count)
  const bytes = count * image.geometry.clusterSize
  if (allocated.offset + bytes <= image.file.size || (await canReach(image, allocated.offset + bytes)))
    return allocated
  await releaseClusters(image, allocated.offset, bytes)
  throw new BlockError('ENOSPC', `the image file '${image.file.filename}' cannot grow`, {
    node: image.settings.nodeName,
  })
}

/** Whether a file that does not grow by writing can be extended. */
const canReach = async (image: Image, end: number): Promise<boolean> =>
  image.file.node.growable || image.fileLength.reach(end)

function takeAtOnce(image: Image, count: number): number | undefined {
  return image.reservation.take(count) ?? (reserves(image) ? undefined : takeFree(image, count))
}

/** A lazy image has no use for refcounts that are raised ahead. */
const reserves = (image: Image): boolean => image.settings.refcountReserve > 0 && !image.lazyRefcounts

function taken(image: Image, first: number, count: number): Allocated {
  const { clusterSize } = image.geometry
  const offset = first * clusterSize
  return { offset, zeroed: image.fileLength.claim(offset, count * clusterSize) }
}

async function searchClusters(image: Image, count: number): Promise<Allocated> {
  const announced = image.file.debugEvent('cluster_alloc')
  if (announced) await announced
  if (reserves(image)) {
    const first = await takeAhead(image, count)
    if (first !== undefined) return taken(image, first, count)
  }
  for (;;) {
    const first = await findFree(image, count)
    try {
      if (await ensureRefblocks(image, first, count)) {
        // The new blocks took clusters, perhaps these: search again from the same cluster.
        image.freeHint.noteFree(first)
        continue
      }
      await addToRefcounts(image, first, count, 1)
    } catch (error) {
      // They are still free for the next request.
      image.freeHint.noteFree(first)
      throw error
    }
    return taken(image, first, count)
  }
}

/** Releases clusters that nothing on disk or in a cache ever pointed at. */
export async function releaseClusters(image: Image, offset: number, bytes: number): Promise<void> {
  const { clusterSize } = image.geometry
  await addToRefcounts(image, offset / clusterSize, bytes / clusterSize, -1)
}

/**
 * Lowers the refcounts of frees that are due ({@link PendingFrees}), and discards clusters that became free.
 */
export async function applyFrees(image: Image): Promise<void> {
  for (const freed of image.frees.takeDue()) {
    const announced = image.file.debugEvent('cluster_free')
    if (announced) await announced
    // Failure is harmless here: the next request that changes refcounts tries again, and reports it.
    if (image.refblocks.isFull) await image.refblocks.writeBack().catch(() => undefined)
    await freeClusters(image, freed)
  }
}

/** Lowers the refcounts of clusters that nothing refers to, and discards those that became free. */
export async function freeClusters(image: Image, { offset, bytes, reason }: Freed): Promise<void> {
  const { clusterSize } = image.geometry
  const runs: { start: number; end: number }[] = []
  try {
    await addToRefcounts(image, offset / clusterSize, bytes / clusterSize, -1, (cluster) => {
      const last = runs[runs.length - 1]
      if (last?.end === cluster) last.end++
      else runs.push({ start: cluster, end: cluster + 1 })
    })
  } catch {
    // This leaves a leak, which a check finds; the request that unlinked these clusters has long completed.
    image.events.warn(`qcow2_free_clusters failed: refcounts of [${offset}, +${bytes}) could not be lowered`)
    return
  }
  if (!image.settings.passDiscard[reason]) return
  for (const { start, end } of runs) {
    // Discards are only advice: failures are ignored.
    await image.file.discard(start * clusterSize, (end - start) * clusterSize).catch(() => undefined)
  }
}
