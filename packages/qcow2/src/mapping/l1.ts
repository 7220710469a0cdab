/** The L1 table: finding L2 tables, making new ones, and growing the L1 table itself. */
import { alignUp, BlockError, isBlockError, SECTOR } from '@vmblock/block-core/driver'
import { COPIED_HI, entryHi, entryLo, l1Offset } from '../format/l2-entry.ts'
import { MAX_L1_BYTES } from '../format/limits.ts'
import { prefixedHex } from '../format/words.ts'
import type { Allocated } from '../image/cluster-store.ts'
import type { Image } from '../image/image.ts'
import { beforeActivate, beforeNewTable } from '../image/write-order.ts'
import { allocateClusters, releaseClusters } from '../refcounts/allocate.ts'

/** Host offset of the L2 table of an L1 entry; 0 if there is none, and beyond the end of the L1 table. */
export function l2TableOffset(image: Image, l1Index: number): number {
  const { view } = image.l1
  if (l1Index * 8 >= view.byteLength) return 0
  return l1Offset(view.getUint32(l1Index * 8), view.getUint32(l1Index * 8 + 4))
}

/** Whether the L2 table of an L1 entry belongs to the active L1 table alone, and may be changed in place. */
export function ownsL2Table(image: Image, l1Index: number): boolean {
  const { view } = image.l1
  return l1Index * 8 < view.byteLength && (view.getUint32(l1Index * 8) & COPIED_HI) !== 0
}

/** @throws the corruption error for an L1 entry whose offset is not cluster aligned */
export async function checkL2Offset(image: Image, l1Index: number, offset: number): Promise<void> {
  if (offset % image.geometry.clusterSize === 0) return
  throw await image.corruption.signal(
    `L2 table offset ${prefixedHex(offset)} unaligned (L1 index: ${prefixedHex(l1Index)})`,
    true,
  )
}

/**
 * Gives an L1 entry an L2 table that may be changed in place: the existing one, a copy of a shared one, or a
 * new one. The L1 entry on disk points at a copy or a new table only after the next flush. Runs under the
 * image's lock.
 *
 * @returns host offset of the table in bytes
 */
export async function writableL2Table(image: Image, l1Index: number): Promise<number> {
  const old = l2TableOffset(image, l1Index)
  await checkL2Offset(image, l1Index, old)
  if (old !== 0 && ownsL2Table(image, l1Index)) return old
  const { clusterSize } = image.geometry
  const allocated = await allocateClusters(image, 1)
  if (allocated.offset === 0)
    throw await image.corruption.signal('Preventing invalid allocation of L2 table at offset 0', true)
  try {
    await fillTable(image, allocated, old)
    await beforeNewTable(image)
  } catch (error) {
    image.l2Tables.drop(allocated.offset, clusterSize)
    await releaseClusters(image, allocated.offset, clusterSize)
    throw error
  }
  const { view } = image.l1
  view.setUint32(l1Index * 8, entryHi(allocated.offset, true))
  view.setUint32(l1Index * 8 + 4, entryLo(allocated.offset))
  image.l1Changed(l1Index)
  image.overlaps.addL2Table(allocated.offset)
  if (old !== 0) {
    image.overlaps.removeL2Table(old)
    image.frees.add(old, clusterSize, 'snapshot')
  }
  return allocated.offset
}

/** Fills a new table: with zeroes, or with the contents of the table that it replaces. */
async function fillTable(image: Image, allocated: Allocated, copyOf: number): Promise<void> {
  const { clusterSize } = image.geometry
  const { sliceSize } = image.l2Tables
  await image.overlaps.guard(allocated.offset, clusterSize)
  // Slices cached when the cluster was a table before.
  image.l2Tables.drop(allocated.offset, clusterSize)
  if (copyOf !== 0) {
    await image.l2Tables.writeBack()
    const table = new Uint8Array(clusterSize)
    await image.file.debugEvent('l2_alloc_cow_read')
    await image.file.read(copyOf, table)
    await image.file.debugEvent('l2_alloc_write')
    await image.file.write(allocated.offset, table)
    return
  }
  await image.file.debugEvent('l2_alloc_write')
  // If nothing was ever written there, and space can only be reserved by writing, extend the file.
  if (!allocated.zeroed) await image.file.write(allocated.offset, new Uint8Array(clusterSize))
  else if (
    !(await takeSpace(image, allocated.offset)) &&
    !(await image.fileLength.reach(allocated.offset + clusterSize))
  )
    await image.file.write(allocated.offset + clusterSize - SECTOR, new Uint8Array(SECTOR))
  // A table of one slice is likely to be used whole; of a larger one, only the needed slice is read back.
  if (clusterSize === sliceSize) image.l2Tables.createZeroed(allocated.offset)
}

/**
 * Makes the file allocate space for a new table now: on a full disk, the flush that would free clusters must
 * not need space itself (room.ts).
 *
 * @returns whether the file can do that
 */
async function takeSpace(image: Image, offset: number): Promise<boolean> {
  try {
    await image.file.writeZeroes(offset, image.geometry.clusterSize, { noFallback: true })
    return true
  } catch (error) {
    if (isBlockError(error, 'ENOTSUP')) return false
    throw error
  }
}

/** Makes the L1 table at least `entries` long, in new clusters. Runs under the image's lock. */
export async function growL1(image: Image, entries: number): Promise<void> {
  if (entries * 8 <= image.l1.bytes.length) return
  if (entries * 8 > MAX_L1_BYTES)
    throw new BlockError('EFBIG', 'the L1 table would exceed its limit of 32 MiB', {
      node: image.settings.nodeName,
    })
  const { clusterSize } = image.geometry
  const oldOffset = image.header.l1TableOffset
  const oldBytes = alignUp(image.header.l1Size * 8, clusterSize)
  const bytes = alignUp(entries * 8, clusterSize)
  await image.file.debugEvent('l1_grow_alloc_table')
  const { offset } = await allocateClusters(image, bytes / clusterSize)
  const table = new Uint8Array(bytes)
  table.set(image.l1.bytes)
  try {
    await image.overlaps.guard(offset, bytes)
    await image.file.debugEvent('l1_grow_write_table')
    await image.file.write(offset, table)
    await beforeActivate(image)
    await image.file.debugEvent('l1_grow_activate_table')
  } catch (error) {
    await releaseClusters(image, offset, bytes)
    throw error
  }
  try {
    await image.headerWriter.change({ l1Size: entries, l1TableOffset: offset })
  } catch (error) {
    // The header on disk may point there: free only after a flush.
    image.frees.add(offset, bytes, 'other')
    throw error
  }
  image.setL1(table.subarray(0, entries * 8))
  if (oldBytes > 0) image.frees.add(oldOffset, oldBytes, 'other')
}
