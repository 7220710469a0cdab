/** Changes L2 entries that lose or keep their clusters but get no new ones: zeroing, discarding. */
import { alignDown, alignUp } from '@vmblock/block-core/driver'
import { hostOffsetOf } from '../format/l2-entry.ts'
import type { Image } from '../image/image.ts'
import { entryAt, type L2Entry, setEntry } from '../mapping/entries.ts'
import { l2TableOffset } from '../mapping/l1.ts'
import { indexInSlice, inWritableSlice, sliceCoverage } from '../mapping/slices.ts'
import { hasFullCache, makeRoomInCaches, relieve } from './room.ts'

/**
 * Runs `body` while no other request allocates, zeroes or discards in the guest clusters that [start, end)
 * touches. So what `body` reads from their entries stays true until it changes them itself.
 */
export function holdingRange(
  image: Image,
  start: number,
  end: number,
  body: () => Promise<void>,
): Promise<void> {
  const first = alignDown(start, image.geometry.clusterSize)
  return image.allocating.run(first, alignUp(end, image.geometry.clusterSize) - first, true, body)
}

/**
 * Replaces each entry of whole guest clusters [start, end) with the result of `change`; undefined leaves it.
 * The caller holds the guest range ({@link holdingRange}); the image's lock is taken slice by slice, so that
 * a long range does not hold up other requests.
 */
export async function updateEntries(
  image: Image,
  start: number,
  end: number,
  skipEmpty: boolean,
  change: (entry: L2Entry, guestOffset: number) => L2Entry | undefined,
): Promise<void> {
  const { clusterSize, l2EntrySize, l2Coverage } = image.geometry
  const last = alignUp(end, clusterSize)
  for (let at = start; at < last; ) {
    const coverage = sliceCoverage(image)
    if (skipEmpty && l2TableOffset(image, Math.floor(at / l2Coverage)) === 0) {
      at += l2Coverage - (at % l2Coverage)
      continue
    }
    if (hasFullCache(image)) await makeRoomInCaches(image)
    const stop = Math.min(last, at + coverage - (at % coverage))
    const from = at
    await image.lock.run(async () => {
      await inWritableSlice(image, from, (table) => {
        const first = indexInSlice(image, from)
        for (let guest = from, index = first; guest < stop; guest += clusterSize, index++) {
          const entry = entryAt(image, table, index)
          const changed = change(entry, guest)
          if (!changed) continue
          // See remaps.ts.
          if (image.hasDataFile || keepsHostCluster(entry, changed)) image.remaps.note()
          setEntry(image, table, index, changed)
          image.l2Tables.changed(table, index * l2EntrySize, (index + 1) * l2EntrySize)
        }
      })
    })
    await relieve(image)
    at = stop
  }
}

/** Whether an entry points at the same host cluster as before. */
const keepsHostCluster = (before: L2Entry, after: L2Entry): boolean =>
  hostOffsetOf(after.hi, after.lo) !== 0 &&
  hostOffsetOf(after.hi, after.lo) === hostOffsetOf(before.hi, before.lo)
