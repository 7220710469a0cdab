/** Refcounts: read one, change a range, find free clusters. All functions run under the image's lock. */
import { BlockError, type Table, TWO_32 } from '@vmblock/block-core/driver'
import { prefixedHex } from '../format/words.ts'
import { freeRunsOf } from '../image/free-runs.ts'
import type { Image } from '../image/image.ts'
import { ScanBudget } from './scan-budget.ts'

/** The number of entries of the refcount table; each stands for one refcount block. */
export const refcountTableEntries = (image: Image): number => image.refcountTable.bytes.length / 8

/** Host offset of a refcount block; 0 if there is none, which means that every refcount in its range is 0. */
export function refblockOffset(image: Image, blockIndex: number): number {
  const { view } = image.refcountTable
  if (blockIndex >= view.byteLength / 8) return 0
  const hi = view.getUint32(blockIndex * 8)
  const lo = view.getUint32(blockIndex * 8 + 4)
  return hi * TWO_32 + (lo - (lo % 512))
}

/** Index of the refcount block that holds a cluster's refcount. */
export const refblockIndexOf = (image: Image, cluster: number): number =>
  Math.floor(cluster / image.geometry.refblockEntries)

/** Refcounts per cache slice. */
export const sliceEntries = (image: Image): number =>
  (image.refblocks.sliceSize * 8) / image.geometry.refcountBits

/** Offset in bytes, within its refcount block, of the cache slice with a cluster's refcount. */
const sliceInBlock = (image: Image, cluster: number): number =>
  Math.floor((cluster % image.geometry.refblockEntries) / sliceEntries(image)) * image.refblocks.sliceSize

/** Host offset of the cache slice with a cluster's refcount; 0 if there is no block. */
export async function sliceOf(image: Image, cluster: number): Promise<number> {
  const { refblockEntries, clusterSize } = image.geometry
  const blockIndex = Math.floor(cluster / refblockEntries)
  const block = refblockOffset(image, blockIndex)
  if (block === 0) return 0
  if (block % clusterSize !== 0) {
    throw await image.corruption.signal(
      `Refblock offset ${prefixedHex(block)} unaligned (reftable index: ${prefixedHex(blockIndex)})`,
      true,
    )
  }
  return block + sliceInBlock(image, cluster)
}

/** The slice at a host offset. Callers change it before their next await. */
export async function loadSlice(image: Image, offset: number): Promise<Table> {
  for (;;) {
    const table = image.refblocks.peek(offset)
    if (table) return table
    await image.refblocks.load(offset)
  }
}

/** The refcount of a host cluster, given by its index. */
export async function getRefcount(image: Image, cluster: number): Promise<number> {
  const bytes = await readSlice(image, cluster)
  return bytes ? image.refcounts.get(bytes, cluster % sliceEntries(image)) : 0
}

/** The bytes of a cluster's slice; undefined if there is no block. */
export async function readSlice(image: Image, cluster: number): Promise<Uint8Array | undefined> {
  const offset = await sliceOf(image, cluster)
  return offset === 0 ? undefined : (await loadSlice(image, offset)).bytes
}

/**
 * Adds `delta` to the refcount of every cluster in a range, all or nothing. Their refcount blocks must exist.
 *
 * @param first index of the first host cluster
 * @param becameFree called for each cluster whose refcount became 0
 * @throws BlockError EINVAL if a refcount would leave its range, or has no block
 */
export async function addToRefcounts(
  image: Image,
  first: number,
  count: number,
  delta: 1 | -1,
  becameFree?: (cluster: number) => void,
): Promise<void> {
  let cluster = first
  try {
    while (cluster < first + count) {
      const offset = await sliceOf(image, cluster)
      const table = offset === 0 ? undefined : await loadSlice(image, offset)
      if (table && image.refblocks.peek(offset) !== table) continue // dropped meanwhile: load it again
      cluster = changeSlice(image, table, cluster, first + count, delta, becameFree)
    }
  } catch (error) {
    // Undo the changes so far. They are all in cached slices, so this does not depend on the disk.
    if (cluster > first) await addToRefcounts(image, first, cluster - first, delta === 1 ? -1 : 1)
    throw error
  }
}

/** A 64-bit refcount above 2^53-1 is not lowered: that leaks a cluster, which is safe. */
const isUncountable = (value: number, delta: number): boolean =>
  delta < 0 && value === Number.POSITIVE_INFINITY

/** Changes the refcounts of [cluster, end) that one slice holds. @returns the first cluster not done */
function changeSlice(
  image: Image,
  table: Table | undefined,
  cluster: number,
  end: number,
  delta: number,
  becameFree?: (cluster: number) => void,
): number {
  const { refcounts } = image
  const entries = sliceEntries(image)
  const start = cluster % entries
  const stop = Math.min(entries, start + end - cluster)
  image.freeRuns.forget(Math.floor(cluster / entries))
  // First check, then change: nothing has to be undone within a slice.
  for (let i = start; i < stop; i++) {
    const value = table ? refcounts.get(table.bytes, i) + delta : -1
    if (isUncountable(value, delta)) continue
    if (value < 0 || value > refcounts.max) throw outOfRange(image, cluster + i - start, delta)
  }
  if (!table) throw outOfRange(image, cluster, delta)
  for (let i = start; i < stop; i++) {
    const value = refcounts.get(table.bytes, i) + delta
    if (isUncountable(value, delta)) continue
    refcounts.set(table.bytes, i, value)
    if (value === 0) {
      const freed = cluster + i - start
      image.freeHint.noteFree(freed)
      image.decompressed.forget(freed)
      becameFree?.(freed)
    }
  }
  const { refcountBits } = image.geometry
  image.refblocks.changed(table, Math.floor((start * refcountBits) / 8), Math.ceil((stop * refcountBits) / 8))
  return cluster + stop - start
}

function outOfRange(image: Image, cluster: number, delta: number): BlockError {
  const offset = cluster * image.geometry.clusterSize
  const what = delta > 0 ? 'exceed its maximum' : 'fall below zero'
  return new BlockError('EINVAL', `the refcount of cluster ${cluster} would ${what}`, {
    node: image.settings.nodeName,
    offset,
  })
}

/**
 * Takes the first `count` free clusters in a row at or after the hint, if one cached slice is enough for
 * that, which is nearly always. Otherwise callers use {@link findFree} and {@link addToRefcounts}.
 *
 * @param ahead takes up to this many free clusters directly behind them, too; the hint moves behind these
 * @param atHint the run must begin at the hint
 * @returns index of the first one; undefined if one slice is not enough: then nothing was changed
 */
export function takeFree(image: Image, count: number, ahead = 0, atHint = false): number | undefined {
  const { refblockEntries, refcountBits } = image.geometry
  const { refcounts, refblocks } = image
  const hint = image.freeHint.at
  const entries = sliceEntries(image)
  const block = refblockOffset(image, Math.floor(hint / refblockEntries))
  const table = block === 0 ? undefined : refblocks.peek(block + sliceInBlock(image, hint))
  if (!table) return undefined
  const start = hint % entries
  let found = 0
  let end = start
  for (; end < entries && found < count; end++) found = refcounts.get(table.bytes, end) === 0 ? found + 1 : 0
  const first = end - count
  if (found < count || (atHint && first > start)) return undefined
  const most = Math.min(entries, end + ahead)
  while (end < most && refcounts.get(table.bytes, end) === 0) end++
  for (let i = first; i < end; i++) refcounts.set(table.bytes, i, 1)
  image.freeRuns.forget(Math.floor(hint / entries))
  refblocks.changed(table, Math.floor((first * refcountBits) / 8), Math.ceil((end * refcountBits) / 8))
  image.freeHint.moveTo(hint + end - start)
  return hint + first - start
}

/**
 * Index of the first of `count` free clusters in a row, from the hint on (first fit, as in QEMU's allocator,
 * so that layouts are alike). Moves the hint behind them; changes no refcount.
 *
 * @throws BlockError EFBIG if the file would exceed 2^53 bytes; EIO if far more refcounts are in use than the
 *   file can hold
 */
export async function findFree(image: Image, count: number): Promise<number> {
  const { refblockEntries, clusterSize } = image.geometry
  const { refcounts, freeRuns } = image
  const entries = sliceEntries(image)
  let cluster = image.freeHint.at
  let found = 0
  const budget = new ScanBudget(image)
  while (found < count) {
    const start = cluster % entries
    const slice = Math.floor(cluster / entries)
    const known = start === 0 ? freeRuns.get(slice) : undefined
    if (known && found + known.head < count && known.longest < count) {
      found = known.head === entries ? found + entries : known.tail
      cluster += entries
      continue
    }
    const offset = await sliceOf(image, cluster)
    if (offset === 0) {
      // No block: all clusters of its range are free, as are those beyond the end of the table.
      const blockEnd = (Math.floor(cluster / refblockEntries) + 1) * refblockEntries
      const taken = Math.min(count - found, blockEnd - cluster)
      found += taken
      cluster += taken
      continue
    }
    if (budget.spend(image.refblocks.sliceSize) && !(await budget.extend()))
      throw new BlockError('EIO', 'more refcounts are in use than the file can hold', {
        node: image.settings.nodeName,
      })
    const { bytes } = image.refblocks.peek(offset) ?? (await loadSlice(image, offset))
    let i = start
    for (; i < entries && found < count; i++) found = refcounts.get(bytes, i) === 0 ? found + 1 : 0
    cluster += i - start
    if (start === 0 && found < count) freeRuns.set(slice, freeRunsOf(refcounts, bytes, entries))
  }
  if (cluster * clusterSize > Number.MAX_SAFE_INTEGER)
    throw new BlockError('EFBIG', 'the image file would exceed 2^53 bytes', { node: image.settings.nodeName })
  image.freeHint.moveTo(cluster)
  return cluster - count
}
