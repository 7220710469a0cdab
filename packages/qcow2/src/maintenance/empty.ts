/** Drops all guest data of an image, so that the backing file shows through everywhere. */
import { alignUp, divUp, viewOf } from '@vmblock/block-core/driver'
import { setRefblockOffset } from '../format/l2-entry.ts'
import type { Image } from '../image/image.ts'
import { discardClusters } from '../requests/discard.ts'
import { quiesceImage } from '../requests/flush.ts'

/** Empties the image. If it holds nothing but guest data, the file becomes as small as a new one. */
export async function makeEmpty(image: Image): Promise<void> {
  await quiesceImage(image)
  if (canStartOver(image)) return image.lock.run(() => startOver(image))
  await discardClusters(image, 0, alignUp(image.size, image.geometry.clusterSize), {
    full: true,
    reason: 'snapshot',
  })
  await quiesceImage(image)
}

const l1Clusters = (image: Image): number => divUp(image.header.l1Size * 8, image.geometry.clusterSize)

/** Whether the dirty bit can cover the time without refcounts, and one refcount block is enough then. */
function canStartOver(image: Image): boolean {
  const { header, geometry } = image
  return (
    header.version >= 3 &&
    header.nbSnapshots === 0 &&
    !header.extensions.bitmaps &&
    !image.hasDataFile &&
    // The clusters of key slots are no guest data.
    !header.extensions.luksHeader &&
    3 + l1Clusters(image) <= geometry.refblockEntries
  )
}

/**
 * Writes an empty image's structures over the old ones: refcount table, refcount block and L1 table in
 * clusters 1, 2 and from 3 on (block/qcow2.c, make_completely_empty). Meanwhile the dirty bit says that
 * refcounts are wrong; and the L1 table is empty, durably, before anything it pointed at is overwritten.
 */
async function startOver(image: Image): Promise<void> {
  const { file, header } = image
  const { clusterSize } = image.geometry
  const tables = l1Clusters(image)
  await image.dirtyBit.set()
  try {
    await file.debugEvent('l1_update')
    await file.writeZeroes(header.l1TableOffset, tables * clusterSize)
    await image.flushFile()
    image.setL1(new Uint8Array(header.l1Size * 8))
    image.l2Tables.clear()
    image.forgetRefcounts()

    await file.debugEvent('empty_image_prepare')
    await file.writeZeroes(clusterSize, (2 + tables) * clusterSize)
    await image.flushFile()
    await file.debugEvent('l1_update')
    await file.debugEvent('reftable_update')
    await image.headerWriter.change(
      { l1TableOffset: 3 * clusterSize, refcountTableOffset: clusterSize, refcountTableClusters: 1 },
      'either is valid',
    )

    await file.debugEvent('refblock_alloc')
    await fillRefcounts(image, 3 + tables)
  } catch (error) {
    // The state in memory fits neither the old image nor the new one; the next open repairs.
    image.dirtyBit.needsRepair = true
    image.events.corrupt({ message: 'emptying the image failed half-way', fatal: true })
    throw error
  }
  image.overlaps.forget()
  await image.fileLength.cut((3 + tables) * clusterSize).catch(() => undefined)
  await image.dirtyBit.clear()
}

/** Gives the first `clusters` clusters refcount 1, in one block in cluster 2. */
async function fillRefcounts(image: Image, clusters: number): Promise<void> {
  const { clusterSize } = image.geometry
  const block = new Uint8Array(clusterSize)
  for (let i = 0; i < clusters; i++) image.refcounts.set(block, i, 1)
  await image.file.write(2 * clusterSize, block)
  await image.flushFile()
  const table = new Uint8Array(clusterSize)
  setRefblockOffset(viewOf(table), 0, 2 * clusterSize)
  await image.file.write(clusterSize, table.subarray(0, 512))
  await image.flushFile()
  image.setRefcountTable(table)
}
