/**
 * Moves compressed data. A host cluster holds several pieces, and a piece may reach into the next cluster: so pieces are
 * packed anew, one after the other, in whole sectors. What lies between two pieces and belongs to none is left behind.
 */
import { alignDown, alignUp, divUp, SECTOR } from '@vmblock/block-core/driver'
import { compressedEntryHi, compressedEntryLo, compressedExtent } from '../format/l2-entry.ts'
import type { Image } from '../image/image.ts'
import { setRefcount } from '../refcounts/repair-refcounts.ts'
import type { Entries, Entry } from './entries.ts'
import type { Source } from './move-clusters.ts'
import { takeBelow } from './survey.ts'

/** What {@link packExtents} did. */
interface Packed {
  /** Bytes that were copied. */
  readonly bytes: number
  /** Host clusters (bytes) that lose a reference, once for each. */
  readonly freed: readonly { readonly offset: number; readonly bytes: number }[]
  readonly isFull: boolean
}

/** Compressed data with all known entries for it. Bytes of the image file. */
interface Extent {
  readonly offset: number
  readonly bytes: number
  readonly entries: Entry[]
}

/** The extents in some clusters, by offset. One that reaches into the next cluster is found with both, and counts once. */
function extentsOf(image: Image, sources: readonly Source[]): Extent[] {
  const extents = new Map<string, Extent & { readonly cluster: number }>()
  for (const { cluster, entries } of sources)
    for (const entry of entries) {
      const { hostOffset: offset, bytes } = compressedExtent(entry.hi, entry.lo, image.geometry.clusterBits)
      const key = `${offset} ${bytes}`
      const extent = extents.get(key) ?? { offset, bytes, entries: [], cluster }
      extents.set(key, extent)
      if (extent.cluster === cluster) extent.entries.push(entry)
    }
  return [...extents.values()].sort((a, b) => a.offset - b.offset)
}

/** The clusters that are being filled: contiguous, so that data may reach from one into the next. */
interface Open {
  /** Host offset in bytes of the next free sector, and of the end of the last cluster. */
  next: number
  end: number
  /** End of the data in the file that was packed last, and its shift from there. */
  sourceEnd: number
  shift: number
}

/**
 * Copies the compressed data of some clusters to free ones before `limit` (an index), and prepares the change of its
 * entries.
 *
 * @param taken gets the indexes of the clusters that were taken
 * @throws the error of the file
 */
export async function packExtents(
  image: Image,
  sources: readonly Source[],
  limit: number,
  taken: number[],
  entries: Entries,
): Promise<Packed> {
  const { clusterSize, clusterBits } = image.geometry
  const counts = new Map<number, number>()
  const freed: { offset: number; bytes: number }[] = []
  let open: Open | undefined
  let copied = 0
  let isFull = false
  for (const extent of extentsOf(image, sources)) {
    const place = await image.lock.run(() => placeFor(image, extent, open, counts, limit, taken))
    if (!place) {
      isFull = true
      break
    }
    open = place.open
    const { host } = place
    const data = new Uint8Array(place.copyTo - place.copyFrom)
    if (data.length > 0) {
      await image.file.read(place.copyFrom, data)
      await image.file.write(place.copyFrom + open.shift, data)
    }
    copied += data.length
    const span = alignDown(extent.offset, clusterSize)
    for (const entry of extent.entries) {
      entries.replace(entry, compressedEntryHi(host, extent.bytes, clusterBits), compressedEntryLo(host))
      freed.push({ offset: span, bytes: alignUp(extent.offset + extent.bytes - span, clusterSize) })
    }
  }
  await image.lock.run(async () => {
    for (const [cluster, count] of counts) await setRefcount(image, cluster, count)
  })
  return { bytes: copied, freed, isFull }
}

/** Where data goes, and which part of it has to be copied. */
interface Place {
  readonly open: Open
  /** Bytes of the image file. */
  readonly host: number
  readonly copyFrom: number
  readonly copyTo: number
}

async function placeFor(
  image: Image,
  extent: Extent,
  open: Open | undefined,
  counts: Map<number, number>,
  limit: number,
  taken: number[],
): Promise<Place | undefined> {
  const { clusterSize } = image.geometry
  const placed = open && placeIn(image, extent, open, counts)
  if (placed) return placed
  let before = open
  const needed = divUp(extent.offset + extent.bytes - alignDown(extent.offset, SECTOR), clusterSize)
  for (const clusters of needed > 1 ? [1, needed] : [1]) {
    const first = await takeBelow(image, clusters, limit)
    if (first === undefined) return undefined
    for (let at = first; at < first + clusters; at++) {
      taken.push(at)
      counts.set(at, 0)
    }
    const [host, end] = [first * clusterSize, (first + clusters) * clusterSize]
    const fresh: Open = { next: host, end, sourceEnd: 0, shift: 0 }
    const longer: Open | undefined = before?.end === host ? { ...before, end } : undefined
    const found = (longer && placeIn(image, extent, longer, counts)) ?? placeIn(image, extent, fresh, counts)
    if (found) return found
    before = longer ?? fresh
  }
  return undefined
}

/** The place for an extent in clusters that are being filled; counts it there. Undefined if it does not fit. */
function placeIn(
  image: Image,
  { offset, bytes, entries }: Extent,
  open: Open,
  counts: Map<number, number>,
): Place | undefined {
  const { clusterSize } = image.geometry
  const { max } = image.refcounts
  const start = alignDown(offset, SECTOR)
  const end = offset + bytes
  const put = (shift: number, copyFrom: number): Place | undefined => {
    if (end + shift > open.end) return undefined
    const [first, last] = [offset + shift, end + shift - 1].map((at) => Math.floor(at / clusterSize))
    for (let at = first!; at <= last!; at++)
      if ((counts.get(at) ?? max) + entries.length > max) return undefined
    for (let at = first!; at <= last!; at++) counts.set(at, counts.get(at)! + entries.length)
    return {
      open: {
        next: Math.max(open.next, end + shift),
        end: open.end,
        sourceEnd: Math.max(end, copyFrom),
        shift,
      },
      host: offset + shift,
      copyFrom,
      copyTo: Math.max(end, copyFrom),
    }
  }
  // If it begins in the sector in which the data before it ended, that was copied already.
  const shared = start < open.sourceEnd ? put(open.shift, open.sourceEnd) : undefined
  return shared ?? put(open.next - start, start)
}
