/** Unlinks guest clusters: for discards of the guest, and when the disk shrinks or is emptied. */
import { BlockError } from '@vmblock/block-core/driver'
import { ClusterKind, ZERO_LO } from '../format/l2-entry.ts'
import { ALL_SUBCLUSTERS } from '../format/subclusters.ts'
import type { FreeReason } from '../image/frees.ts'
import type { Image } from '../image/image.ts'
import { clusterKindOf, freeEntry, type L2Entry, NOTHING, sameEntry } from '../mapping/entries.ts'
import { holdingRange, updateEntries } from './update.ts'

/** How clusters are unlinked. */
export interface DiscardMode {
  /** The backing file shows through afterwards; else the range reads as zeroes, if the format can say so. */
  readonly full: boolean
  readonly reason: FreeReason
}

/**
 * A guest's discard. Whole clusters only, and the last one of a disk of odd size.
 *
 * @throws BlockError ENOTSUP for parts of clusters, and if version 2 would let the backing file show through
 */
export async function discard(image: Image, offset: number, bytes: number): Promise<void> {
  const { clusterSize } = image.geometry
  const end = offset + bytes
  const isWhole = offset % clusterSize === 0 && (end % clusterSize === 0 || end === image.size)
  if (!isWhole || (image.header.version < 3 && image.backing))
    throw new BlockError('ENOTSUP', 'only whole clusters can be discarded', {
      node: image.settings.nodeName,
      offset,
    })
  const epoch = image.requests.enter()
  try {
    await holdingRange(image, offset, end, async () => {
      const zeroing = image.store.beforeZeroing?.(offset, bytes, { mayUnmap: true })
      if (zeroing) await zeroing
      await unlinkClusters(image, offset, end, { full: false, reason: 'request' })
      const discarding = image.store.afterDiscard?.(offset, bytes)
      if (discarding) await discarding
    })
  } finally {
    image.requests.leave(epoch)
  }
}

/** Unlinks every cluster of [start, end); `start` begins a cluster. */
export const discardClusters = (image: Image, start: number, end: number, mode: DiscardMode): Promise<void> =>
  holdingRange(image, start, end, () => unlinkClusters(image, start, end, mode))

/** As {@link discardClusters}, for callers that hold the guest range already. */
export async function unlinkClusters(
  image: Image,
  start: number,
  end: number,
  mode: DiscardMode,
): Promise<void> {
  // Without a backing file, a range without an L2 table already reads as zeroes.
  const skipEmpty = mode.full || !image.backing
  await updateEntries(image, start, end, skipEmpty, (entry) => discarded(image, entry, mode))
}

function discarded(image: Image, entry: L2Entry, { full, reason }: DiscardMode): L2Entry | undefined {
  if (!full && !image.backing && !isAllocated(image, entry)) return undefined
  const replacement = full ? NOTHING : zeroEntry(image)
  if (sameEntry(entry, replacement)) return undefined
  freeEntry(image, entry, reason)
  return replacement
}

function zeroEntry(image: Image): L2Entry {
  if (image.extendedL2) return { ...NOTHING, zeroes: ALL_SUBCLUSTERS }
  return image.header.version >= 3 ? { ...NOTHING, lo: ZERO_LO } : NOTHING
}

/** Whether an entry has host clusters. */
function isAllocated(image: Image, { hi, lo }: L2Entry): boolean {
  const kind = clusterKindOf(image, hi, lo)
  return kind !== ClusterKind.unallocated && kind !== ClusterKind.zeroPlain
}
