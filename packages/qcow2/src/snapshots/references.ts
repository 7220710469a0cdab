/**
 * What an L1 table refers to: L2 tables, and through them clusters. A snapshot has an L1 table of its own, and counts one
 * reference to everything that it leads to. The tables are read from the file, not through the cache, which is written back
 * before. All functions run under the image's lock, with no request in flight.
 */
import { alignDown, divUp } from '@vmblock/block-core/driver'
import { ClusterKind, compressedExtent, hostOffsetOf } from '../format/l2-entry.ts'
import { prefixedHex } from '../format/words.ts'
import type { Image } from '../image/image.ts'
import { clusterKindOf } from '../mapping/entries.ts'
import { addToRefcounts } from '../refcounts/refcounts.ts'
import { l2TablesOf, type ReadTable } from './l2-tables.ts'

/** Clusters in a row, as indexes of host clusters. */
export interface ClusterRun {
  readonly first: number
  readonly count: number
}

/** The clusters to which the entries of a table refer, neighbours in one run. @throws as {@link l2TablesOf} */
async function runsIn(image: Image, { view, offset }: ReadTable): Promise<ClusterRun[]> {
  const { clusterSize, clusterBits, l2Entries, l2EntrySize } = image.geometry
  const runs: ClusterRun[] = []
  let [first, end] = [0, 0]
  const add = (from: number, count: number): void => {
    if (from !== end || count !== 1) {
      if (end > first) runs.push({ first, count: end - first })
      first = from
    }
    end = from + count
  }
  for (let index = 0; index < l2Entries; index++) {
    const hi = view.getUint32(index * l2EntrySize)
    const lo = view.getUint32(index * l2EntrySize + 4)
    if (hi === 0 && lo === 0) continue
    const kind = clusterKindOf(image, hi, lo)
    if (kind === ClusterKind.compressed) {
      const { hostOffset, bytes } = compressedExtent(hi, lo, clusterBits)
      const start = alignDown(hostOffset, clusterSize)
      add(start / clusterSize, divUp(hostOffset + bytes - start, clusterSize))
      // Its neighbour may lie in the same cluster, and counts once more: no run joins the two.
      add(-1, 0)
      continue
    }
    if (kind !== ClusterKind.normal && kind !== ClusterKind.zeroAlloc) continue
    const host = hostOffsetOf(hi, lo)
    if (host % clusterSize !== 0)
      throw await image.corruption.signal(
        `Cluster allocation offset ${prefixedHex(host)} unaligned (L2 offset: ${prefixedHex(offset)}, L2 index: ${prefixedHex(index)})`,
        true,
      )
    add(host / clusterSize, 1)
  }
  add(-1, 0)
  return runs
}

/** The runs of clusters that an L1 table leads to: for each L2 table those of its entries, then its own. */
export async function* referencesOf(image: Image, l1: DataView): AsyncGenerator<readonly ClusterRun[]> {
  for await (const table of l2TablesOf(image, l1)) {
    const runs = await runsIn(image, table)
    runs.push({ first: table.offset / image.geometry.clusterSize, count: 1 })
    yield runs
  }
}

/**
 * Counts one more reference to everything that an L1 table leads to, all or nothing.
 *
 * @throws BlockError EINVAL if a refcount would exceed its maximum; as {@link l2TablesOf}
 */
export async function addReferences(image: Image, l1: DataView): Promise<void> {
  let added = 0
  try {
    for await (const runs of referencesOf(image, l1))
      for (const { first, count } of runs) {
        await addToRefcounts(image, first, count, 1)
        added++
        if (image.refblocks.isCrowded) await image.refblocks.writeBack()
      }
  } catch (error) {
    await removeReferences(image, l1, added)
    throw error
  }
}

/**
 * Counts one reference less to everything that an L1 table leads to, and discards in the file what became free. What fails
 * leaves leaks, and a warning: nothing refers to the table any more.
 *
 * @param most how many runs of clusters at most
 * @returns whether all were counted
 */
export async function removeReferences(
  image: Image,
  l1: DataView,
  most = Number.POSITIVE_INFINITY,
): Promise<boolean> {
  let left = most
  let failure: unknown
  const drop = async (run: ClusterRun): Promise<void> => {
    try {
      if (image.refblocks.isCrowded) await image.refblocks.writeBack()
      await removeRun(image, run)
    } catch (error) {
      failure ??= error
    }
  }
  try {
    if (left > 0)
      for await (const runs of referencesOf(image, l1)) {
        for (const run of runs) if (left-- > 0) await drop(run)
        if (left <= 0) break
      }
  } catch (error) {
    failure ??= error
  }
  if (failure === undefined) return true
  const why = failure instanceof Error ? failure.message : String(failure)
  image.events.warn(
    `qcow2: clusters of a snapshot could not all be freed: ${why}; a repair of leaks frees them`,
  )
  return false
}

/** Lowers the refcounts of a run, and discards in the file what became free. @throws as `addToRefcounts` */
async function removeRun(image: Image, { first, count }: ClusterRun): Promise<void> {
  const { clusterSize } = image.geometry
  const freed: { start: number; end: number }[] = []
  const announced = image.file.debugEvent('cluster_free')
  if (announced) await announced
  await addToRefcounts(image, first, count, -1, (cluster) => {
    const last = freed[freed.length - 1]
    if (last?.end === cluster) last.end++
    else freed.push({ start: cluster, end: cluster + 1 })
  })
  if (!image.settings.passDiscard.snapshot) return
  // Only advice.
  for (const { start, end } of freed)
    await image.file.discard(start * clusterSize, (end - start) * clusterSize).catch(() => undefined)
}
