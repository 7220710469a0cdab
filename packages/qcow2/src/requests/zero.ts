/** Makes a guest range read as zeroes without writing zeroes. */
import { alignDown, alignUp, BlockError, divUp, type WriteFlags } from '@vmblock/block-core/driver'
import { COMPRESSED_HI, hostOffsetOf, ZERO_LO } from '../format/l2-entry.ts'
import { ALL_SUBCLUSTERS, allocMask } from '../format/subclusters.ts'
import type { Image } from '../image/image.ts'
import { freeEntry, type L2Entry, NOTHING, sameEntry } from '../mapping/entries.ts'
import { readsAsZero } from './cow.ts'
import { unlinkClusters } from './discard.ts'
import { holdingRange, updateEntries } from './update.ts'

/**
 * Zeroes [offset, offset + bytes) by setting zero flags of whole clusters (or subclusters).
 *
 * @throws BlockError ENOTSUP if part of a cluster with data would have to be written: the core does that
 */
export async function writeZeroes(
  image: Image,
  offset: number,
  bytes: number,
  flags: WriteFlags,
): Promise<void> {
  const epoch = image.requests.enter()
  try {
    const { subclusterSize } = image.geometry
    const end = offset + bytes
    const start = alignDown(offset, subclusterSize)
    const stop = alignUp(end, subclusterSize)
    // The rest of the first and the last unit must not change before they are zeroed.
    await holdingRange(image, start, stop, async () => {
      // A unit that is only partly covered can be zeroed whole if the rest of it reads as zeroes anyway.
      const headIsZero = start === offset || (await readsAsZero(image, start, offset - start))
      const tailIsZero = stop === end || end >= image.size || (await readsAsZero(image, end, stop - end))
      if (!headIsZero || !tailIsZero) throw refused(image, offset)
      if (image.header.version < 3) {
        // Version 2 has no zero flag; without a backing file, unallocated clusters read as zeroes.
        if (image.backing) throw refused(image, offset)
        await unlinkClusters(image, start, end, { full: false, reason: 'request' })
        return
      }
      const zeroing = image.store.beforeZeroing?.(offset, bytes, flags)
      if (zeroing) await zeroing
      await zeroUnits(image, start, stop, flags.mayUnmap === true)
    })
  } finally {
    image.requests.leave(epoch)
  }
}

const refused = (image: Image, offset: number): BlockError =>
  new BlockError('ENOTSUP', 'only whole clusters can be zeroed by metadata', {
    node: image.settings.nodeName,
    offset,
  })

/** Zeroes whole units of [start, end): subclusters, or clusters if there are none. */
async function zeroUnits(image: Image, start: number, end: number, mayUnmap: boolean): Promise<void> {
  const { clusterSize } = image.geometry
  await updateEntries(image, alignDown(start, clusterSize), end, false, (entry, guest) => {
    const from = Math.max(start - guest, 0)
    const to = Math.min(end - guest, clusterSize)
    return from === 0 && to === clusterSize
      ? zeroCluster(image, entry, mayUnmap)
      : zeroPart(image, entry, guest, from, to)
  })
}

function zeroCluster(image: Image, entry: L2Entry, mayUnmap: boolean): L2Entry | undefined {
  const isCompressed = (entry.hi & COMPRESSED_HI) !== 0
  const unmaps = isCompressed || (mayUnmap && hostOffsetOf(entry.hi, entry.lo) !== 0)
  const kept = unmaps ? NOTHING : entry
  const zeroed = image.extendedL2
    ? { ...kept, zeroes: ALL_SUBCLUSTERS, allocated: 0 }
    : { ...kept, lo: (kept.lo | ZERO_LO) >>> 0 }
  if (sameEntry(zeroed, entry)) return undefined
  if (unmaps) freeEntry(image, entry, 'request')
  return zeroed
}

function zeroPart(image: Image, entry: L2Entry, guest: number, from: number, to: number): L2Entry {
  if ((entry.hi & COMPRESSED_HI) !== 0) throw refused(image, guest + from)
  const { subclusterSize } = image.geometry
  const mask = allocMask(from / subclusterSize, divUp(to, subclusterSize))
  return { ...entry, zeroes: (entry.zeroes | mask) >>> 0, allocated: (entry.allocated & ~mask) >>> 0 }
}
