/**
 * Builds a new refcount structure in unused space, from the counted references alone. The old one is not
 * touched before the header points at the new one; afterwards it is a leak that the caller frees.
 */
import { BlockError, divUp, viewOf } from '@vmblock/block-core/driver'
import { setRefblockOffset } from '../format/l2-entry.ts'
import { MAX_REFCOUNT_TABLE_BYTES } from '../format/limits.ts'
import type { Image } from '../image/image.ts'
import type { CheckProgress } from './check-progress.ts'
import type { References } from './references.ts'

/** Writes the structure and switches to it. @throws BlockError EFBIG, or the error of the file */
export async function rebuildRefcounts(
  image: Image,
  references: References,
  progress: CheckProgress,
): Promise<void> {
  const { clusterSize } = image.geometry
  image.forgetRefcounts()
  /** Offsets of the new blocks, by index. */
  const blocks = new Map<number, number>()
  const write = (indexes: readonly number[]): Promise<void> =>
    writeBlocks(image, references, blocks, indexes, progress)
  await write(references.blockIndexes)
  for (;;) {
    const clusters = tableClusters(blocks, clusterSize)
    if (clusters * clusterSize > MAX_REFCOUNT_TABLE_BYTES)
      throw new BlockError('EFBIG', 'ERROR allocating reftable: the table would exceed 8 MiB', {
        node: image.settings.nodeName,
      })
    const first = references.allocate(clusters, 0)
    // The clusters of the table changed some blocks, and may need new ones, which may need a longer table.
    await write(blocksOf(image, first, clusters))
    if (tableClusters(blocks, clusterSize) > clusters) continue
    await activate(image, blocks, first * clusterSize, clusters)
    return
  }
}

/** Clusters that a table for these blocks takes. */
function tableClusters(blocks: ReadonlyMap<number, number>, clusterSize: number): number {
  let highest = 0
  for (const index of blocks.keys()) highest = Math.max(highest, index)
  return divUp((highest + 1) * 8, clusterSize)
}

/** Indexes of the blocks that hold the refcounts of a run of clusters. */
function blocksOf(image: Image, first: number, count: number): number[] {
  const { refblockEntries } = image.geometry
  const indexes: number[] = []
  for (let i = Math.floor(first / refblockEntries); i * refblockEntries < first + count; i++) indexes.push(i)
  return indexes
}

/** Writes blocks, and allocates those that have no cluster yet; that may add further blocks to write. */
async function writeBlocks(
  image: Image,
  references: References,
  blocks: Map<number, number>,
  indexes: readonly number[],
  progress: CheckProgress,
): Promise<void> {
  const { clusterSize, refblockEntries } = image.geometry
  const pending = new Set(indexes)
  for (const index of pending) {
    pending.delete(index)
    progress.expect(1)
    const held = progress.next()
    if (held) await held
    if (!blocks.has(index)) {
      // In its own range if possible, so that no block already written has to change.
      const cluster = references.allocate(1, index * refblockEntries)
      blocks.set(index, cluster * clusterSize)
      pending.add(Math.floor(cluster / refblockEntries))
    }
    const block = references.block(index)
    if (!block) continue
    await image.overlaps.guard(blocks.get(index)!, clusterSize)
    await image.file.write(blocks.get(index)!, block)
  }
}

async function activate(
  image: Image,
  blocks: ReadonlyMap<number, number>,
  offset: number,
  clusters: number,
): Promise<void> {
  const table = new Uint8Array(clusters * image.geometry.clusterSize)
  const view = viewOf(table)
  for (const [index, blockOffset] of blocks) setRefblockOffset(view, index, blockOffset)
  await image.overlaps.guard(offset, table.length)
  await image.file.write(offset, table)
  await image.flushFile()
  await image.headerWriter.change({ refcountTableOffset: offset, refcountTableClusters: clusters })
  image.setRefcountTable(table)
  image.forgetRefcounts()
  image.fileLength.claimAll()
}
