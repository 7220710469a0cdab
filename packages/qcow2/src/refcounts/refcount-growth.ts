/**
 * New refcount blocks, and a larger refcount table when the old one is full. Both describe themselves: the
 * clusters that they occupy have their refcounts in the new blocks. Order: blocks, flush, table entry; for a
 * new table: blocks and table, flush, header, flush, then the old table is free. Runs under the image's lock.
 */
import { BlockError, divUp, viewOf } from '@vmblock/block-core/driver'
import { setRefblockOffset } from '../format/l2-entry.ts'
import { MAX_REFCOUNT_TABLE_BYTES } from '../format/limits.ts'
import type { Image } from '../image/image.ts'
import {
  addToRefcounts,
  findFree,
  refblockIndexOf,
  refblockOffset,
  refcountTableEntries,
} from './refcounts.ts'

/**
 * Makes sure that there are refcount blocks for a range of clusters.
 *
 * @returns whether anything was allocated: free clusters found before may be taken now
 */
export async function ensureRefblocks(image: Image, first: number, count: number): Promise<boolean> {
  const last = refblockIndexOf(image, first + count - 1)
  for (let index = refblockIndexOf(image, first); index <= last; index++) {
    // Announced whether or not one is needed, as in QEMU.
    const announced = image.file.debugEvent('refblock_alloc')
    if (announced) await announced
    if (index >= refcountTableEntries(image)) {
      await growRefcountTable(image, index)
      return true
    }
    if (refblockOffset(image, index) === 0) {
      await addRefblock(image, index)
      return true
    }
  }
  return false
}

async function addRefblock(image: Image, index: number): Promise<void> {
  const { clusterSize, refblockEntries } = image.geometry
  const cluster = await findFree(image, 1)
  if (cluster === 0)
    throw await image.corruption.signal('Preventing invalid allocation of refcount block at offset 0', true)
  const home = refblockIndexOf(image, cluster)
  const offset = cluster * clusterSize
  const selfDescribing = home === index
  if (!selfDescribing) {
    // Its own refcount is in another block, which may have to come first.
    if (await ensureRefblocks(image, cluster, 1)) {
      image.freeHint.noteFree(cluster)
      return
    }
    await addToRefcounts(image, cluster, 1, 1)
  }
  image.fileLength.claim(offset, clusterSize)
  try {
    const block = new Uint8Array(clusterSize)
    if (selfDescribing) image.refcounts.set(block, cluster % refblockEntries, 1)
    await image.overlaps.guard(offset, clusterSize)
    await image.file.debugEvent('refblock_alloc_write')
    await image.file.write(offset, block)
    // The entry must not point at garbage, or at a block whose own refcount is not on disk.
    if (!selfDescribing) await image.refblocks.writeBack()
    await image.flushFile()
    await image.file.debugEvent('refblock_alloc_hookup')
  } catch (error) {
    if (!selfDescribing) await addToRefcounts(image, cluster, 1, -1)
    image.freeHint.noteFree(cluster)
    throw error
  }
  try {
    await setTableEntry(image, index, offset)
  } catch (error) {
    // The entry may be on disk: free after a flush. A block that holds its own refcount is added again, in
    // the same cluster, before that can be used otherwise.
    if (!selfDescribing) image.frees.add(offset, clusterSize, 'other')
    image.freeHint.noteFree(cluster)
    throw error
  }
}

/** Points a table entry at a block, on disk and in memory. @throws the error of the file: it is as before in memory */
export async function setTableEntry(image: Image, index: number, offset: number): Promise<void> {
  const { view } = image.refcountTable
  const write = (): Promise<void> =>
    image.writeResident(image.refcountTable, image.header.refcountTableOffset, index * 8, 8)
  const before = refblockOffset(image, index)
  setRefblockOffset(view, index, offset)
  try {
    await image.roots.change(write, write)
    image.overlaps.addRefblock(offset)
  } catch (error) {
    setRefblockOffset(view, index, before)
    throw error
  }
}

/**
 * Moves the refcount table to where it has room for at least `neededIndex`. The new table and the blocks that
 * describe it lie at the start of the first range that has no block yet, where nothing can be in use.
 */
async function growRefcountTable(image: Image, neededIndex: number): Promise<void> {
  const { clusterSize, refblockEntries } = image.geometry
  await image.file.debugEvent('reftable_grow')
  const entriesPerCluster = clusterSize / 8
  const oldEntries = refcountTableEntries(image)
  const oldOffset = image.header.refcountTableOffset
  const oldClusters = image.header.refcountTableClusters
  const start = neededIndex * refblockEntries
  // Half as large again, so that growing stays rare. The new area needs blocks, which need entries.
  let blocks = 1
  let tableClusters: number
  for (;;) {
    const entries = Math.max(Math.ceil(oldEntries * 1.5), neededIndex + blocks)
    tableClusters = divUp(entries, entriesPerCluster)
    const needed = divUp(blocks + tableClusters, refblockEntries)
    if (needed <= blocks) break
    blocks = needed
  }
  const tableBytes = tableClusters * clusterSize
  if (tableBytes > MAX_REFCOUNT_TABLE_BYTES)
    throw new BlockError('EFBIG', 'the refcount table would exceed its limit of 8 MiB', {
      node: image.settings.nodeName,
    })

  const areaOffset = start * clusterSize
  const tableOffset = areaOffset + blocks * clusterSize
  const areaClusters = blocks + tableClusters
  const table = new Uint8Array(tableBytes)
  table.set(image.refcountTable.bytes)
  for (let i = 0; i < blocks; i++)
    setRefblockOffset(viewOf(table), neededIndex + i, areaOffset + i * clusterSize)

  await image.overlaps.guard(areaOffset, areaClusters * clusterSize)
  await image.file.debugEvent('refblock_alloc_write_blocks')
  for (let i = 0; i < blocks; i++) {
    const block = new Uint8Array(clusterSize)
    const used = Math.min(refblockEntries, areaClusters - i * refblockEntries)
    for (let entry = 0; entry < used; entry++) image.refcounts.set(block, entry, 1)
    await image.file.write(areaOffset + i * clusterSize, block)
  }
  await image.file.debugEvent('refblock_alloc_write_table')
  await image.file.write(tableOffset, table)
  await image.refblocks.writeBack()
  await image.flushFile()

  await image.file.debugEvent('refblock_alloc_switch_table')
  await image.headerWriter.change({ refcountTableOffset: tableOffset, refcountTableClusters: tableClusters })
  image.setRefcountTable(table)
  image.fileLength.claim(areaOffset, areaClusters * clusterSize)
  image.freeHint.noteFree(start)
  // The header durably points at the new table: the old one is free.
  await addToRefcounts(image, oldOffset / clusterSize, oldClusters, -1)
}
