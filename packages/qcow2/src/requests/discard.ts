/** Unlinks guest clusters: for discards of the guest, and when the disk shrinks or is emptied. */
import { BlockError } from '@vmblock/block-core'
import { ClusterKind, extendedL2Kind, l2Kind, ZERO_LO } from '../format/l2-entry.ts'
import { ALL_SUBCLUSTERS } from '../format/subclusters.ts'
import type { FreeReason } from '../image/frees.ts'
import type { Image } from '../image/image.ts'
import type { Words } from '../mapping/lookup.ts'
import { freeEntry, NOTHING } from './link.ts'
import { holdingRange, sameWords, updateEntries } from './update.ts'

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
      // In a raw data file, ranges that read as zero must be zero, whether or not the file can discard.
      if (image.isDataFileRaw) await image.data.writeZeroes(offset, bytes, { mayUnmap: true })
      await unlinkClusters(image, offset, end, { full: false, reason: 'request' })
      // In a data file, guest clusters never move: no other request may write there until this is done.
      if (image.hasDataFile && image.settings.passDiscard.request) await image.data.discard(offset, bytes)
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
  await updateEntries(image, start, end, skipEmpty, (words) => discarded(image, words, mode))
}

function discarded(image: Image, words: Words, { full, reason }: DiscardMode): Words | undefined {
  if (!full && !image.backing && !isAllocated(image, words)) return undefined
  const replacement = full ? NOTHING : zeroWords(image)
  if (sameWords(words, replacement)) return undefined
  freeEntry(image, words, reason)
  return replacement
}

function zeroWords(image: Image): Words {
  if (image.extendedL2) return { ...NOTHING, zeroes: ALL_SUBCLUSTERS }
  return image.header.version >= 3 ? { ...NOTHING, lo: ZERO_LO } : NOTHING
}

/** Whether an entry has host clusters. */
function isAllocated(image: Image, { hi, lo }: Words): boolean {
  const kind = image.extendedL2
    ? extendedL2Kind(hi, lo, image.hasDataFile)
    : l2Kind(hi, lo, image.hasDataFile)
  return kind !== ClusterKind.unallocated && kind !== ClusterKind.zeroPlain
}
