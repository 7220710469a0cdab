/**
 * Changes the width of refcounts: a new refcount table and new blocks are written aside, and one write of the header
 * switches to them. The new structure counts itself and not the old one, so that each is right for the header that leads
 * to it: a power cut leaves the old width or the new one, and no leak.
 */
import { BlockError, divUp, type JobControl, viewOf } from '@vmblock/block-core/driver'
import { geometryOf } from '../format/geometry.ts'
import { setRefblockOffset } from '../format/l2-entry.ts'
import { MAX_REFCOUNT_TABLE_BYTES } from '../format/limits.ts'
import { type RefcountAccess, refcountAccess } from '../format/refcount-width.ts'
import type { Image } from '../image/image.ts'
import {
  findFree,
  readSlice,
  refblockOffset,
  refcountTableEntries,
  sliceEntries,
} from '../refcounts/refcounts.ts'
import { quiesceImage } from '../requests/flush.ts'
import { slicesOf } from './survey.ts'

/** The walks over the refcounts that QEMU reports: it allocates, makes sure, and writes. */
const WALKS = 3

/** The new structure: blocks and then the table, in one run of clusters. */
interface Plan {
  readonly access: RefcountAccess
  /** Refcounts of a new block. */
  readonly perBlock: number
  /** Indexes of the blocks that hold anything, ascending. */
  readonly blocks: readonly number[]
  readonly tableClusters: number
  /** Index of the first cluster of the run. */
  readonly first: number
}

/**
 * Gives the image refcounts of `2 ** order` bits. No request may be in flight.
 *
 * @throws BlockError EINVAL if a refcount does not fit; EFBIG if the table would be too long; the error of the file;
 *   what cancels the job
 */
export async function changeRefcountWidth(image: Image, order: number, control: JobControl): Promise<void> {
  await quiesceImage(image)
  await image.dirtyBit.clear()
  const { clusterBits, clusterSize, subclusters } = image.geometry
  const plan = await image.lock.run(() => planOf(image, order, walkOf(image, control, 0)))
  await walkOf(image, control, 1).all()
  const table = await image.lock.run(() => writeAll(image, plan, walkOf(image, control, 2)))
  await image.flushFile()
  await image.file.debugEvent('refblock_alloc_switch_table')
  await image.headerWriter.rewrite({
    refcountOrder: order,
    refcountTableOffset: (plan.first + plan.blocks.length) * clusterSize,
    refcountTableClusters: plan.tableClusters,
  })
  image.geometry = geometryOf(clusterBits, order, subclusters > 1)
  image.refcounts = plan.access
  image.setRefcountTable(table)
  image.renewCaches()
  image.forgetRefcounts()
  image.fileLength.claimAll()
}

/** Reports one of {@link WALKS}, by entries of the old refcount table. */
interface Walk {
  /** Called for each block, with its index. */
  at(index: number): Promise<void>
  /** Reports all of it, or the rest. */
  all(): Promise<void>
}

function walkOf(image: Image, control: JobControl, number: number): Walk {
  const total = refcountTableEntries(image)
  let told = 0
  const upTo = async (end: number): Promise<void> => {
    for (; told <= end; told++) control.report(number * total + told, WALKS * total)
    const held = control.checkpoint()
    if (held) await held
  }
  return { at: (index) => upTo(Math.min(index, total)), all: () => upTo(total) }
}

/** Plans the structure; nothing is written. */
async function planOf(image: Image, order: number, walk: Walk): Promise<Plan> {
  const { clusterSize, refblockEntries } = image.geometry
  const access = refcountAccess(order)
  const perBlock = (clusterSize * 8) / access.bits
  const needed = new Set<number>()
  const end = refcountTableEntries(image) * refblockEntries
  await walk.at(0)
  for await (const { start, stop, bytes } of slicesOf(image, 0, end)) {
    const entries = sliceEntries(image)
    for (let at = start; at < stop; at++) {
      const refcount = image.refcounts.get(bytes, at % entries)
      if (refcount > access.max) throw doesNotFit(image, access, at, refcount)
      if (refcount > 0) needed.add(Math.floor(at / perBlock))
    }
    await walk.at(Math.floor(start / refblockEntries))
  }
  await walk.all()
  for (;;) {
    const tableClusters = divUp((Math.max(...needed) + 1) * 8, clusterSize)
    if (tableClusters * clusterSize > MAX_REFCOUNT_TABLE_BYTES)
      throw new BlockError('EFBIG', 'the refcount table would exceed its limit of 8 MiB', {
        node: image.settings.nodeName,
      })
    const count = needed.size + tableClusters
    image.freeHint.moveTo(0)
    const first = await findFree(image, count)
    image.freeHint.moveTo(0)
    // The run itself has to be counted, which may take more blocks.
    for (let at = first; at < first + count; at++) needed.add(Math.floor(at / perBlock))
    if (needed.size + divUp((Math.max(...needed) + 1) * 8, clusterSize) === count)
      return { access, perBlock, blocks: [...needed].sort((a, b) => a - b), tableClusters, first }
  }
}

function doesNotFit(image: Image, { bits }: RefcountAccess, cluster: number, refcount: number): BlockError {
  const offset = `0x${(cluster * image.geometry.clusterSize).toString(16)}`
  const message = `Cannot decrease refcount entry width to ${bits} bits: Cluster at offset ${offset} has a refcount of ${refcount}`
  return new BlockError('EINVAL', message, { node: image.settings.nodeName })
}

/** Writes blocks and table. @returns the table */
async function writeAll(image: Image, plan: Plan, walk: Walk): Promise<Uint8Array> {
  const { clusterSize, refblockEntries } = image.geometry
  const { access, perBlock, blocks, first, tableClusters } = plan
  const old = clustersOfOld(image)
  const isNew = (cluster: number): boolean =>
    cluster >= first && cluster < first + blocks.length + tableClusters
  const table = new Uint8Array(tableClusters * clusterSize)
  await image.overlaps.guard(first * clusterSize, (blocks.length + tableClusters) * clusterSize)
  await image.file.debugEvent('refblock_alloc_write_blocks')
  for (const [i, index] of blocks.entries()) {
    const block = new Uint8Array(clusterSize)
    const entries = sliceEntries(image)
    for (let at = index * perBlock; at < (index + 1) * perBlock; ) {
      const stop = Math.min((index + 1) * perBlock, (Math.floor(at / entries) + 1) * entries)
      const bytes = await readSlice(image, at)
      for (; at < stop; at++) {
        const counted = bytes ? image.refcounts.get(bytes, at % entries) : 0
        const refcount = isNew(at) ? 1 : counted - (old.has(at) && counted > 0 ? 1 : 0)
        if (refcount > 0) access.set(block, at - index * perBlock, refcount)
      }
    }
    await image.file.write((first + i) * clusterSize, block)
    setRefblockOffset(viewOf(table), index, (first + i) * clusterSize)
    await walk.at(Math.floor((index * perBlock) / refblockEntries))
  }
  await image.file.debugEvent('refblock_alloc_write_table')
  await image.file.write((first + blocks.length) * clusterSize, table)
  await walk.all()
  return table
}

/** Indexes of the clusters of the old structure, which will be free. */
function clustersOfOld(image: Image): Set<number> {
  const { clusterSize } = image.geometry
  const { refcountTableOffset, refcountTableClusters } = image.header
  const clusters = new Set<number>()
  for (let i = 0; i < refcountTableClusters; i++) clusters.add(refcountTableOffset / clusterSize + i)
  for (let i = 0; i < refcountTableEntries(image); i++) {
    const offset = refblockOffset(image, i)
    if (offset !== 0) clusters.add(offset / clusterSize)
  }
  return clusters
}
