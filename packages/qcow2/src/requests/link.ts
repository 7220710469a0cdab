/** Points L2 entries at clusters that now hold data, or releases the clusters. */
import { alignDown, divUp, type Table } from '@vmblock/block-core'
import {
  COMPRESSED_HI,
  COPIED_HI,
  compressedExtent,
  entryHi,
  entryLo,
  hostOffsetOf,
} from '../format/l2-entry.ts'
import { ALL_SUBCLUSTERS, allocMask } from '../format/subclusters.ts'
import { prefixedHex } from '../format/words.ts'
import type { FreeReason } from '../image/frees.ts'
import type { Image } from '../image/image.ts'
import { beforeLink } from '../image/write-order.ts'
import { setEntryWords, type Words } from '../mapping/lookup.ts'
import { releaseClusters } from '../refcounts/allocate.ts'
import { spanOf } from './cow.ts'
import { inSlice, type Reserved } from './reserve.ts'

/**
 * Points the L2 entries of a reservation at its clusters. Runs under the image's lock.
 *
 * @returns undefined if there is nothing to await: nearly always
 */
export function link(image: Image, reserved: Reserved, copiedOldData: boolean): Promise<void> | undefined {
  const hostEnd = image.hasDataFile ? 0 : reserved.hostOffset + reserved.clusters * image.geometry.clusterSize
  // A cluster that was used before may hold data of another owner, which the guest must not see.
  const waits = beforeLink(image, hostEnd, copiedOldData || !reserved.zeroed)
  const table = waits ? undefined : image.l2Tables.peek(reserved.slice)
  if (table) return linkIn(image, table, reserved)
  return linkLater(image, reserved, waits)
}

async function linkLater(image: Image, reserved: Reserved, waits: Promise<void> | undefined): Promise<void> {
  await waits
  await inSlice(image, reserved.slice, (table) => linkIn(image, table, reserved))
}

function linkIn(image: Image, table: Table, reserved: Reserved): undefined {
  const { clusterSize, l2EntrySize } = image.geometry
  const { index, clusters, before, hostOffset, reused } = reserved
  const span = spanOf(image, reserved)
  const start = alignDown(reserved.offset, clusterSize)
  for (let i = 0; i < clusters; i++) {
    const words = before[i]!
    const host = hostOffset + i * clusterSize
    const linked = { hi: entryHi(host, true), lo: entryLo(host), zeroes: 0, allocated: 0 }
    if (image.extendedL2)
      divide(
        image,
        linked,
        words,
        reused,
        span.start - start - i * clusterSize,
        span.end - start - i * clusterSize,
      )
    setEntryWords(image, table, index + i, linked)
    if (!reused) freeEntry(image, words, 'other')
  }
  image.l2Tables.changed(table, index * l2EntrySize, (index + clusters) * l2EntrySize)
}

/** Marks the subclusters of [from, to) (bytes of the cluster) allocated; the others do not change. */
function divide(image: Image, linked: Words, before: Words, reused: boolean, from: number, to: number): void {
  const { clusterSize, subclusterSize } = image.geometry
  const first = Math.floor(Math.max(from, 0) / subclusterSize)
  const last = divUp(Math.min(to, clusterSize), subclusterSize)
  const written = allocMask(first, last)
  // A compressed cluster's second word has no meaning, and all of its data was copied.
  const wasCompressed = (before.hi & COMPRESSED_HI) !== 0
  linked.allocated = ((reused && !wasCompressed ? before.allocated : 0) | written) >>> 0
  linked.zeroes = (wasCompressed ? 0 : before.zeroes & ~linked.allocated & ALL_SUBCLUSTERS) >>> 0
}

/** Notes the clusters of an entry as freed: it no longer refers to them. */
export function freeEntry(image: Image, words: Words, reason: FreeReason): void {
  const { clusterSize, clusterBits } = image.geometry
  if (image.hasDataFile) return
  if ((words.hi & COMPRESSED_HI) !== 0) {
    const { hostOffset, bytes } = compressedExtent(words.hi, words.lo, clusterBits)
    const start = alignDown(hostOffset, clusterSize)
    image.frees.add(start, divUp(hostOffset + bytes - start, clusterSize) * clusterSize, reason)
    return
  }
  const host = hostOffsetOf(words.hi, words.lo)
  if (host % clusterSize !== 0)
    void image.corruption.signal(`Cannot free unaligned cluster ${prefixedHex(host)}`, false)
  else if (host !== 0) image.frees.add(host, clusterSize, reason)
}

/**
 * Writes tables back when half of a cache is dirty, so that memory stays bounded. Takes the image's lock.
 *
 * @returns undefined if nothing had to be done
 */
export function relieve(image: Image): Promise<void> | undefined {
  const { l2Tables, refblocks } = image
  if (!l2Tables.isCrowded && !refblocks.isCrowded) return undefined
  return image.lock.run(async () => {
    if (l2Tables.isCrowded) await l2Tables.writeBack()
    if (refblocks.isCrowded) await refblocks.writeBack()
  })
}

/** Releases the clusters that were allocated for a failed write. */
export async function abandon(image: Image, reserved: Reserved): Promise<void> {
  if (reserved.reused || image.hasDataFile) return
  await image.lock.run(() =>
    releaseClusters(image, reserved.hostOffset, reserved.clusters * image.geometry.clusterSize),
  )
}

/** An entry that refers to nothing. */
export const NOTHING: Words = Object.freeze({ hi: 0, lo: 0, zeroes: 0, allocated: 0 })

/** Whether an entry has COPIED set. */
export const isOwned = (words: Words): boolean => (words.hi & COPIED_HI) !== 0
