/**
 * Frees refcount blocks whose clusters are all free, after the image has shrunk. Runs under the image's lock.
 */
import { isZero } from '@vmblock/block-core/driver'
import { setRefblockOffset } from '../format/l2-entry.ts'
import type { Image } from '../image/image.ts'
import { addToRefcounts, refblockIndexOf, refblockOffset, refcountTableEntries } from './refcounts.ts'
import { ScanBudget } from './scan-budget.ts'

/**
 * Frees unused refcount blocks. Their entries are durably gone before their clusters are free. The caches
 * must be written back.
 */
export async function shrinkRefcountTable(image: Image): Promise<void> {
  const { clusterSize } = image.geometry
  const unused: number[] = []
  const budget = new ScanBudget(image)
  for (let index = 0; index < refcountTableEntries(image); index++) {
    const offset = refblockOffset(image, index)
    // Blocks that are not examined stay.
    if (offset !== 0 && budget.spend(clusterSize) && !(await budget.extend())) break
    if (offset !== 0 && offset % clusterSize === 0 && (await isUnused(image, index, offset)))
      unused.push(index)
  }
  if (unused.length === 0) return
  const offsets = unused.map((index) => refblockOffset(image, index))
  const { view, bytes } = image.refcountTable
  for (const index of unused) setRefblockOffset(view, index, 0)
  try {
    await image.file.debugEvent('reftable_update')
    await image.writeResident(image.refcountTable, image.header.refcountTableOffset, 0, bytes.length)
    await image.flushFile()
  } catch (error) {
    // The disk may have the old entries: their blocks stay in use, and in the file.
    for (const [i, index] of unused.entries()) setRefblockOffset(view, index, offsets[i]!)
    throw error
  }
  image.overlaps.forget()
  image.freeRuns.clear()
  for (const [i, offset] of offsets.entries()) {
    image.refblocks.drop(offset, clusterSize)
    const cluster = offset / clusterSize
    // A block that held its own refcount needs no change.
    if (refblockIndexOf(image, cluster) !== unused[i]) await addToRefcounts(image, cluster, 1, -1)
    image.freeHint.noteFree(cluster)
  }
}

/** Whether all refcounts of a block are 0, except its own. */
async function isUnused(image: Image, index: number, offset: number): Promise<boolean> {
  const { clusterSize, refblockEntries } = image.geometry
  const block = new Uint8Array(clusterSize)
  await image.file.read(offset, block)
  const cluster = offset / clusterSize
  if (refblockIndexOf(image, cluster) === index) image.refcounts.set(block, cluster % refblockEntries, 0)
  return isZero(block)
}
