/**
 * Whether an image has far more clusters than its file has data: then most of them were preallocated, or
 * partly written, and the file knows better than the tables where there is data. QEMU's
 * `qcow2_detect_metadata_preallocation`, with its thresholds, so that both report the same.
 */
import { divUp, isZero } from '@vmblock/block-core/driver'
import type { Image } from '../image/image.ts'
import { refblockOffset, refcountTableEntries } from '../refcounts/refcounts.ts'
import { ScanBudget } from '../refcounts/scan-budget.ts'

/** Counts used clusters until there are enough, or to the end. Takes no lock: nothing is changed. */
export async function isMostlyHoles(image: Image): Promise<boolean> {
  const { clusterSize, refblockEntries } = image.geometry
  try {
    const { actualSize } = await image.file.node.info()
    if (actualSize === undefined) return false
    const stored = Math.floor(actualSize / clusterSize)
    const enough = Math.max(Math.floor((stored * 10) / 9), stored + 2)
    // Clusters beyond the refcount table are free, whatever size the file claims.
    const end = Math.min(divUp(image.file.size, clusterSize), refcountTableEntries(image) * refblockEntries)
    if (end < enough) return false
    let counted = 0
    const budget = new ScanBudget(image)
    for (let first = 0; first < end && counted < enough; first += refblockEntries) {
      const block = refblockOffset(image, first / refblockEntries)
      if (block === 0) continue
      if (block % clusterSize !== 0 || (budget.spend(clusterSize) && !(await budget.extend()))) return false
      counted += await countBlock(image, block, Math.min(refblockEntries, end - first), enough - counted)
    }
    return counted >= enough
  } catch {
    // On failure, the tables alone decide.
    return false
  }
}

/** How many of the first `entries` refcounts of a block are not 0; looks no further than `enough`. */
async function countBlock(image: Image, block: number, entries: number, enough: number): Promise<number> {
  const { refblocks, refcounts, geometry } = image
  const perSlice = (refblocks.sliceSize * 8) / geometry.refcountBits
  let count = 0
  for (let first = 0; first < entries && count < enough; first += perSlice) {
    const offset = block + (first / perSlice) * refblocks.sliceSize
    while (!refblocks.peek(offset)) await refblocks.load(offset)
    const { bytes } = refblocks.peek(offset)!
    if (isZero(bytes)) continue
    const stop = Math.min(perSlice, entries - first)
    for (let i = 0; i < stop; i++) if (refcounts.get(bytes, i) !== 0) count++
  }
  return count
}
