/**
 * COPIED in the tables of the disk: set exactly where a refcount is 1. While a snapshot is made or applied, it is cleared
 * everywhere; after one was deleted, or what the disk held was dropped, it is set again where the disk owns a cluster alone.
 * A flag too few costs a copy; one too many would let the disk write into a snapshot. Runs under the image's lock, with no
 * request in flight.
 */
import { alignDown, alignUp, SECTOR } from '@vmblock/block-core/driver'
import { ClusterKind, COPIED_HI, hostOffsetOf } from '../format/l2-entry.ts'
import { Metadata } from '../format/metadata.ts'
import type { Image } from '../image/image.ts'
import { clusterKindOf } from '../mapping/entries.ts'
import { readSlice, sliceEntries } from '../refcounts/refcounts.ts'
import { l2TablesOf, type ReadTable } from './l2-tables.ts'

/** The parts of a table that were changed, as a range of bytes; empty at first. */
class ChangedRange {
  from = Number.POSITIVE_INFINITY
  to = 0

  add(at: number): void {
    this.from = Math.min(this.from, at)
    this.to = Math.max(this.to, at + 8)
  }
}

const isCluster = (image: Image, hi: number, lo: number): boolean => {
  const kind = clusterKindOf(image, hi, lo)
  return kind === ClusterKind.normal || kind === ClusterKind.zeroAlloc
}

/** Writes the sectors of an L2 table that were changed. The caches must not hold it. */
async function writeTable(
  image: Image,
  { offset, bytes }: ReadTable,
  { from, to }: ChangedRange,
): Promise<void> {
  if (to === 0) return
  const start = alignDown(from, SECTOR)
  const end = Math.min(alignUp(to, SECTOR), bytes.length)
  await image.overlaps.guard(offset + start, end - start, Metadata.activeL2 | Metadata.inactiveL2)
  const announced = image.file.debugEvent('l2_update')
  if (announced) await announced
  await image.file.write(offset + start, bytes.subarray(start, end))
}

/** Clears COPIED in all L2 tables of an L1 table. Does not flush. @throws as `l2TablesOf` */
export async function clearCopied(image: Image, l1: DataView): Promise<void> {
  const { l2Entries, l2EntrySize } = image.geometry
  image.l2Tables.clear()
  for await (const table of l2TablesOf(image, l1)) {
    const changed = new ChangedRange()
    for (let index = 0; index < l2Entries; index++) {
      const at = index * l2EntrySize
      const hi = table.view.getUint32(at)
      if ((hi & COPIED_HI) === 0 || !isCluster(image, hi, table.view.getUint32(at + 4))) continue
      table.view.setUint32(at, (hi & ~COPIED_HI) >>> 0)
      changed.add(at)
    }
    await writeTable(image, table, changed)
  }
}

/** An L1 table without COPIED: everything that it leads to belongs to a snapshot, too. */
export function withoutCopied(l1: Uint8Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(l1)
  for (let at = 0; at < bytes.length; at += 8) bytes[at]! &= 0x7f
  return bytes
}

/**
 * Sets COPIED in the tables of the disk where the refcount is 1, which must be durable. Does not flush. @throws as
 * `l2TablesOf`
 */
export async function refreshCopied(image: Image): Promise<void> {
  const { clusterSize, l2Entries, l2EntrySize } = image.geometry
  const l1 = image.l1.view
  const entries = sliceEntries(image)
  let slice = -1
  let refcounts: Uint8Array | undefined
  const isOwned = async (cluster: number): Promise<boolean> => {
    if (Math.floor(cluster / entries) !== slice) {
      refcounts = await readSlice(image, cluster)
      slice = Math.floor(cluster / entries)
    }
    return refcounts !== undefined && image.refcounts.get(refcounts, cluster % entries) === 1
  }
  image.l2Tables.clear()
  const inL1 = new ChangedRange()
  for await (const table of l2TablesOf(image, l1)) {
    const { view } = table
    const changed = new ChangedRange()
    for (let index = 0; index < l2Entries; index++) {
      const at = index * l2EntrySize
      const [hi, lo] = [view.getUint32(at), view.getUint32(at + 4)]
      if ((hi === 0 && lo === 0) || (hi & COPIED_HI) !== 0 || !isCluster(image, hi, lo)) continue
      const cluster = hostOffsetOf(hi, lo) / clusterSize
      // No promise for most: neighbours are in one slice.
      const owned =
        Math.floor(cluster / entries) === slice
          ? refcounts !== undefined && image.refcounts.get(refcounts, cluster % entries) === 1
          : await isOwned(cluster)
      if (!owned) continue
      view.setUint32(at, (hi | COPIED_HI) >>> 0)
      changed.add(at)
    }
    await writeTable(image, table, changed)
    const at = table.l1Index * 8
    const hi = l1.getUint32(at)
    if ((hi & COPIED_HI) !== 0 || !(await isOwned(table.offset / clusterSize))) continue
    l1.setUint32(at, (hi | COPIED_HI) >>> 0)
    inL1.add(at)
  }
  if (inL1.to > 0) await writeL1(image, inL1)
}

/** Writes the changed part of the disk's L1 table. @throws the error of the file */
export async function writeL1(
  image: Image,
  { from, to }: { readonly from: number; readonly to: number } = { from: 0, to: image.l1.bytes.length },
): Promise<void> {
  if (to <= from) return
  const announced = image.file.debugEvent('l1_update')
  if (announced) await announced
  await image.writeResident(image.l1, image.header.l1TableOffset, from, to - from)
}
