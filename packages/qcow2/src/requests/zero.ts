/** Makes a guest range read as zeroes without writing zeroes. */
import { alignDown, alignUp, BlockError, divUp, type WriteFlags } from '@vmblock/block-core'
import { COMPRESSED_HI, hostOffsetOf, ZERO_LO } from '../format/l2-entry.ts'
import { ALL_SUBCLUSTERS, allocMask } from '../format/subclusters.ts'
import type { Image } from '../image/image.ts'
import type { Words } from '../mapping/lookup.ts'
import { readsAsZero } from './cow.ts'
import { unlinkClusters } from './discard.ts'
import { freeEntry, NOTHING } from './link.ts'
import { holdingRange, sameWords, updateEntries } from './update.ts'

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
      if (image.isDataFileRaw) await image.data.writeZeroes(offset, bytes, flags)
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
  await updateEntries(image, alignDown(start, clusterSize), end, false, (words, guest) => {
    const from = Math.max(start - guest, 0)
    const to = Math.min(end - guest, clusterSize)
    return from === 0 && to === clusterSize
      ? zeroCluster(image, words, mayUnmap)
      : zeroPart(image, words, guest, from, to)
  })
}

function zeroCluster(image: Image, words: Words, mayUnmap: boolean): Words | undefined {
  const isCompressed = (words.hi & COMPRESSED_HI) !== 0
  const unmaps = isCompressed || (mayUnmap && hostOffsetOf(words.hi, words.lo) !== 0)
  const kept = unmaps ? NOTHING : words
  const zeroed = image.extendedL2
    ? { ...kept, zeroes: ALL_SUBCLUSTERS, allocated: 0 }
    : { ...kept, lo: (kept.lo | ZERO_LO) >>> 0 }
  if (sameWords(zeroed, words)) return undefined
  if (unmaps) freeEntry(image, words, 'request')
  return zeroed
}

function zeroPart(image: Image, words: Words, guest: number, from: number, to: number): Words {
  if ((words.hi & COMPRESSED_HI) !== 0) throw refused(image, guest + from)
  const { subclusterSize } = image.geometry
  const mask = allocMask(from / subclusterSize, divUp(to, subclusterSize))
  return { ...words, zeroes: (words.zeroes | mask) >>> 0, allocated: (words.allocated & ~mask) >>> 0 }
}
