/** Points L2 entries at clusters that now hold data, or releases the clusters. */
import { alignDown, divUp, type Table } from '@vmblock/block-core/driver'
import { COMPRESSED_HI, entryHi, entryLo } from '../format/l2-entry.ts'
import { ALL_SUBCLUSTERS, allocMask } from '../format/subclusters.ts'
import type { Image } from '../image/image.ts'
import { beforeLink } from '../image/write-order.ts'
import { freeEntry, type L2Entry, setEntry } from '../mapping/entries.ts'
import { inSlice } from '../mapping/slices.ts'
import { showedData, spanOf } from './cow.ts'
import type { Reserved } from './reserve.ts'

/**
 * Points the L2 entries of a reservation at its clusters. Runs under the image's lock.
 *
 * @returns undefined if there is nothing to await: nearly always
 */
export function link(image: Image, reserved: Reserved, copiedOldData: boolean): Promise<void> | undefined {
  const hostEnd = reserved.hostOffset + reserved.clusters * image.geometry.clusterSize
  // A cluster that was used before may hold data of another owner, which the guest must not see.
  const dataFirst = copiedOldData || !reserved.zeroed
  const waits = beforeLink(image, image.store.fileEndFor(hostEnd), dataFirst, showedData(image, reserved))
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
    const entry = before[i]!
    const host = hostOffset + i * clusterSize
    const linked = { hi: entryHi(host, true), lo: entryLo(host), zeroes: 0, allocated: 0 }
    if (image.extendedL2)
      divide(
        image,
        linked,
        entry,
        reused,
        span.start - start - i * clusterSize,
        span.end - start - i * clusterSize,
      )
    setEntry(image, table, index + i, linked)
    if (!reused) freeEntry(image, entry, 'other')
  }
  image.l2Tables.changed(table, index * l2EntrySize, (index + clusters) * l2EntrySize)
}

/** Marks the subclusters of [from, to) (bytes of the cluster) allocated; the others do not change. */
function divide(
  image: Image,
  linked: L2Entry,
  before: L2Entry,
  reused: boolean,
  from: number,
  to: number,
): void {
  const { clusterSize, subclusterSize } = image.geometry
  const first = Math.floor(Math.max(from, 0) / subclusterSize)
  const last = divUp(Math.min(to, clusterSize), subclusterSize)
  const written = allocMask(first, last)
  // A compressed cluster's second word has no meaning, and all of its data was copied.
  const wasCompressed = (before.hi & COMPRESSED_HI) !== 0
  linked.allocated = ((reused && !wasCompressed ? before.allocated : 0) | written) >>> 0
  linked.zeroes = (wasCompressed ? 0 : before.zeroes & ~linked.allocated & ALL_SUBCLUSTERS) >>> 0
}

/** Releases the clusters that were allocated for a failed write. */
export async function abandon(image: Image, reserved: Reserved): Promise<void> {
  const { reused, hostOffset, clusters } = reserved
  if (reused) return
  const releasing = image.store.release(hostOffset, clusters * image.geometry.clusterSize)
  if (releasing) await releasing
}
