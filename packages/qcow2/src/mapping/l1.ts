/** The L1 table: where L2 tables are, how they come to be, and how the table itself grows. */
import { alignUp, BlockError, isBlockError, SECTOR, TWO_32, viewOf } from '@vmblock/block-core'
import { HEADER_FIELD } from '../format/header.ts'
import { COPIED_HI, entryHi, entryLo, l1Offset } from '../format/l2-entry.ts'
import { MAX_L1_BYTES } from '../format/limits.ts'
import { prefixedHex } from '../format/words.ts'
import type { Image } from '../image/image.ts'
import { beforeActivate, beforeNewTable } from '../image/write-order.ts'
import { type Allocated, allocateClusters, releaseClusters } from '../refcounts/allocate.ts'

/** Host offset of the L2 table of an L1 entry; 0 where there is none. Beyond the table everything is 0. */
export function l2TableOffset(image: Image, l1Index: number): number {
  const { view } = image.l1
  if (l1Index * 8 >= view.byteLength) return 0
  return l1Offset(view.getUint32(l1Index * 8), view.getUint32(l1Index * 8 + 4))
}

/** Whether the L2 table of an L1 entry belongs to the active L1 alone, and may be changed in place. */
export function ownsL2Table(image: Image, l1Index: number): boolean {
  const { view } = image.l1
  return l1Index * 8 < view.byteLength && (view.getUint32(l1Index * 8) & COPIED_HI) !== 0
}

/** @throws the corruption error of an L1 entry that points between clusters */
export async function checkL2Offset(image: Image, l1Index: number, offset: number): Promise<void> {
  if (offset % image.geometry.clusterSize === 0) return
  throw await image.signalCorruption(
    `L2 table offset ${prefixedHex(offset)} unaligned (L1 index: ${prefixedHex(l1Index)})`,
    true,
  )
}

/**
 * An L2 table for an L1 entry that may be changed in place: the one there is, a copy of a shared one, or a new one,
 * which the L1 entry on disk points at after the next flush. Runs under the image's lock.
 *
 * @returns its host offset in bytes
 */
export async function writableL2Table(image: Image, l1Index: number): Promise<number> {
  const old = l2TableOffset(image, l1Index)
  await checkL2Offset(image, l1Index, old)
  if (old !== 0 && ownsL2Table(image, l1Index)) return old
  const { clusterSize } = image.geometry
  const allocated = await allocateClusters(image, 1)
  if (allocated.offset === 0)
    throw await image.signalCorruption('Preventing invalid allocation of L2 table at offset 0', true)
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

/** Gives a new table its contents: zeroes, or those of the table it takes over from. */
async function fillTable(image: Image, allocated: Allocated, copyOf: number): Promise<void> {
  const { clusterSize } = image.geometry
  const { sliceSize } = image.l2Tables
  await image.overlaps.guard(allocated.offset, clusterSize)
  // What the cluster held when it was a table before.
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
  // Where nothing was ever written, and space cannot be taken without writing, it is enough that the file reaches there.
  if (!allocated.zeroed) await image.file.write(allocated.offset, new Uint8Array(clusterSize))
  else if (
    !(await takeSpace(image, allocated.offset)) &&
    !(await image.reachFile(allocated.offset + clusterSize))
  )
    await image.file.write(allocated.offset + clusterSize - SECTOR, new Uint8Array(SECTOR))
  // Small tables are likely to be wanted whole; of large ones only the slice that was asked for is read back.
  if (clusterSize === sliceSize) image.l2Tables.createZeroed(allocated.offset)
}

/**
 * Makes the host give a new table its space now: on a full disk the flush that would free clusters must not be the one
 * that needs some (room.ts).
 *
 * @returns whether the host knows how to do that
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

/**
 * Makes the L1 table at least `entries` long, in a new place. Runs under the image's lock.
 *
 * @throws BlockError EFBIG above 32 MiB
 */
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
    await image.changeRoot('header', () => writeL1Fields(image, entries, offset))
  } catch (error) {
    // The header may lead there: free after a flush.
    image.frees.add(offset, bytes, 'other')
    throw error
  }
  image.setL1(table.subarray(0, entries * 8))
  if (oldBytes > 0) image.frees.add(oldOffset, oldBytes, 'other')
}

/** Size and place of the L1 table change in one write, durably. */
export async function writeL1Fields(image: Image, entries: number, offset: number): Promise<void> {
  const fields = new Uint8Array(12)
  const view = viewOf(fields)
  view.setUint32(0, entries)
  view.setUint32(4, Math.floor(offset / TWO_32))
  view.setUint32(8, offset % TWO_32)
  await image.file.write(HEADER_FIELD.l1Size, fields)
  await image.flushFile()
  image.header.l1Size = entries
  image.header.l1TableOffset = offset
}
