/** The data of newly allocated clusters: the guest's write, and around it copies of the old content. */
import {
  alignDown,
  alignUp,
  backingIsZero,
  type NewClusters,
  writeWithCopies,
} from '@vmblock/block-core/driver'
import { ClusterKind, extendedL2Kind } from '../format/l2-entry.ts'
import { ALL_SUBCLUSTERS, SubclusterKind } from '../format/subclusters.ts'
import type { Image } from '../image/image.ts'
import { kindOf, type L2Entry } from '../mapping/entries.ts'
import { loadRun } from '../mapping/lookup.ts'
import { read } from './read.ts'
import type { Reserved } from './reserve.ts'

/**
 * The guest range that reads from the new clusters once they are linked: the write, widened by the copies.
 */
export interface Span {
  /** Guest bytes. */
  readonly start: number
  readonly end: number
}

/**
 * How far the copies reach: whole clusters, or whole subclusters if there are any. A cluster that is replaced
 * takes all of its data along. Written parts of a kept cluster are not copied: they may be changing.
 */
export function spanOf(image: Image, { offset, bytes, before, reused }: Reserved): Span {
  const { clusterSize, subclusterSize } = image.geometry
  const end = offset + bytes
  const first = before[0]!
  const last = before[before.length - 1]!
  const isWritten = (entry: L2Entry, at: number): boolean =>
    reused && kindOf(image, entry, Math.floor((at % clusterSize) / subclusterSize)) === SubclusterKind.normal
  const start = isWritten(first, offset) ? offset : alignDown(offset, subclusterSize)
  const stop = isWritten(last, end - 1) ? end : alignUp(end, subclusterSize)
  if (reused) return { start, end: stop }
  return {
    start: Math.min(start, alignDown(offset, clusterSize) + heldPart(image, first)[0]),
    end: Math.max(stop, alignDown(end - 1, clusterSize) + heldPart(image, last)[1]),
  }
}

/** The part of a cluster from the first to the last subcluster with data of its own, as offsets in bytes in the cluster. */
function heldPart(image: Image, entry: L2Entry): readonly [from: number, to: number] {
  const { clusterSize, subclusterSize } = image.geometry
  const { allocated } = entry
  if (!holdsData(image, entry)) return [clusterSize, 0]
  if (!image.extendedL2 || allocated === 0) return [0, clusterSize]
  const lowest = allocated & -allocated
  return [(31 - Math.clz32(lowest)) * subclusterSize, (32 - Math.clz32(allocated)) * subclusterSize]
}

/** Whether any part of an extended entry has data of its own, which would be lost with its old cluster. */
function holdsData(image: Image, { hi, lo, allocated }: L2Entry): boolean {
  const kind = extendedL2Kind(hi, lo, image.hasDataFile)
  return kind === ClusterKind.compressed || (kind === ClusterKind.normal && allocated !== 0)
}

/**
 * Whether nothing has to be copied: the clusters read as zeroes, and so did, by their entries alone, the
 * bytes around the write. This is the case for most writes that allocate.
 */
export function fillsFresh(image: Image, { zeroed, reused, before }: Reserved): boolean {
  if (!zeroed || reused || image.backing) return false
  return showsZeroes(image, before[0]!) && showsZeroes(image, before[before.length - 1]!)
}

/**
 * Whether no part of an entry has data of its own; without a backing file, all of it then reads as zeroes.
 */
function showsZeroes(image: Image, entry: L2Entry): boolean {
  if (image.extendedL2) return !holdsData(image, entry)
  const kind = kindOf(image, entry, 0)
  return kind !== SubclusterKind.normal && kind !== SubclusterKind.compressed
}

/** Whether any of the clusters may have shown something else than zeroes before the write. */
export function showedData(image: Image, { offset, before }: Reserved): boolean {
  const showsBacking = image.backing !== undefined && offset < image.backing.size
  return before.some((entry) => !(showsBacking ? isZeroed(image, entry) : showsZeroes(image, entry)))
}

/** Whether an entry says itself that all of it reads as zeroes. */
function isZeroed(image: Image, entry: L2Entry): boolean {
  if (image.extendedL2) return entry.zeroes === ALL_SUBCLUSTERS
  const kind = kindOf(image, entry, 0)
  return kind === SubclusterKind.zeroPlain || kind === SubclusterKind.zeroAlloc
}

/**
 * Writes guest data to reserved clusters, with copies around it.
 *
 * @returns whether anything but the guest's new data was written: then it has to be durable before the link
 */
export function writeReserved(image: Image, reserved: Reserved, from: Uint8Array): Promise<boolean> {
  const { offset, hostOffset, zeroed } = reserved
  const { start, end } = spanOf(image, reserved)
  /** Host offsets minus guest offsets. */
  const shift = hostOffset - alignDown(offset, image.geometry.clusterSize)
  const clusters: NewClusters = {
    data: { write: (host, bytes) => image.store.write(host, bytes, host - shift) },
    announceTo: image.file,
    start,
    end,
    hostOffset: start + shift,
    zeroed,
    readsAsZero: (at, bytes) => readsAsZero(image, at, bytes),
    readOld: (at, into) => read(image, at, into),
  }
  return writeWithCopies(clusters, offset, from)
}

/** Whether a guest range is known to read as zeroes without reading its data. Past the disk's end, it is. */
export async function readsAsZero(image: Image, offset: number, bytes: number): Promise<boolean> {
  for (let done = 0; done < bytes; ) {
    const run = await loadRun(image, offset + done, bytes - done)
    switch (run.kind) {
      case SubclusterKind.zeroPlain:
      case SubclusterKind.zeroAlloc:
        break
      case SubclusterKind.unallocatedPlain:
      case SubclusterKind.unallocatedAlloc:
        if (!(await backingIsZero(image.backing, offset + done, run.bytes))) return false
        break
      default:
        return false
    }
    done += run.bytes
  }
  return true
}
