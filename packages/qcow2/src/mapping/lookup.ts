/**
 * Looks up guest offsets in the L2 tables. The answer is a {@link Run}; the caller does the I/O. Takes no
 * lock; touches the disk only for a table slice that is not cached.
 */
import { alignDown, type BlockError, type Table } from '@vmblock/block-core/driver'
import { compressedExtent, hostOffsetOf, isCopied, ZERO_LO } from '../format/l2-entry.ts'
import { countSame, SubclusterKind, subclusterKind, undividedKind } from '../format/subclusters.ts'
import { prefixedHex } from '../format/words.ts'
import type { Image } from '../image/image.ts'
import { entryAt, kindOf, type L2Entry } from './entries.ts'
import { checkL2Offset, l2TableOffset, ownsL2Table } from './l1.ts'
import { indexInSlice, sliceCoverage, sliceOffset } from './slices.ts'

/** A guest range that one kind of request can serve. */
export interface Run {
  readonly kind: SubclusterKind
  /** Guest bytes from the offset looked up. At least 1. */
  readonly bytes: number
  /** Offset of the first byte (compressed: of the data) in the data file; 0 without a host cluster. */
  readonly hostOffset: number
  /** The host clusters belong to this mapping alone, and may be written in place. */
  readonly copied: boolean
  /** Bytes of a compressed cluster's data. */
  readonly compressedBytes: number
  /** The problem of an `invalid` entry, in QEMU's words. */
  readonly problem?: string
}

const hasHostCluster = (kind: SubclusterKind): boolean =>
  kind === SubclusterKind.normal ||
  kind === SubclusterKind.zeroAlloc ||
  kind === SubclusterKind.unallocatedAlloc

/**
 * The longest run at guest `offset`, at most `bytes`: of one kind, with contiguous host offsets, within one
 * slice (or over missing L2 tables). With `forWriting`, clusters that may be written in place are not mixed
 * with others.
 */
export function peekRun(image: Image, offset: number, bytes: number, forWriting = false): Run | undefined {
  const coverage = sliceCoverage(image)
  const limit = Math.min(bytes, coverage - (offset % coverage))
  const l1Index = Math.floor(offset / image.geometry.l2Coverage)
  const tableOffset = l2TableOffset(image, l1Index)
  if (tableOffset === 0)
    return emptyRun(Math.min(bytes, missingTables(image, l1Index, offset + bytes) - offset))
  const table = image.l2Tables.peek(sliceOffset(image, tableOffset, offset))
  if (!table) return undefined
  const run = runAt(image, table, offset, limit, forWriting)
  return forWriting && run.copied && !ownsL2Table(image, l1Index) ? { ...run, copied: false } : run
}

/** The most L1 entries looked at for one run. */
const MISSING_TABLES = 256

/** Guest offset (bytes) up to which L2 tables are missing, from an L1 entry to at most `wanted`. */
function missingTables(image: Image, l1Index: number, wanted: number): number {
  const { l2Coverage } = image.geometry
  const last = Math.min(Math.ceil(wanted / l2Coverage), l1Index + MISSING_TABLES)
  let end = l1Index + 1
  while (end < last && l2TableOffset(image, end) === 0) end++
  return end * l2Coverage
}

/** Like {@link peekRun}; reads the slice if necessary. @throws BlockError EIO for a broken entry */
export async function loadRun(image: Image, offset: number, bytes: number, forWriting = false): Promise<Run> {
  for (;;) {
    const run = peekRun(image, offset, bytes, forWriting)
    if (run) {
      if (run.kind === SubclusterKind.invalid) throw await invalidRun(image, run)
      return run
    }
    const l1Index = Math.floor(offset / image.geometry.l2Coverage)
    const tableOffset = l2TableOffset(image, l1Index)
    await checkL2Offset(image, l1Index, tableOffset)
    await image.l2Tables.load(sliceOffset(image, tableOffset, offset))
  }
}

/** Whether a guest range still has the kind and the host offset that a lookup found. */
export async function isStillThere(
  image: Image,
  run: Run,
  offset: number,
  forWriting = false,
): Promise<boolean> {
  const { kind, bytes, hostOffset, copied } = await loadRun(image, offset, run.bytes, forWriting)
  const isSame = kind === run.kind && bytes === run.bytes && hostOffset === run.hostOffset
  return isSame && (copied || !forWriting)
}

/** Signals the corruption that an `invalid` run stands for. */
export const invalidRun = (image: Image, run: Run): Promise<BlockError> =>
  image.corruption.signal(run.problem ?? 'Invalid cluster entry found', true)

const emptyRun = (bytes: number): Run => ({
  kind: SubclusterKind.unallocatedPlain,
  bytes,
  hostOffset: 0,
  copied: false,
  compressedBytes: 0,
})

function runAt(image: Image, table: Table, offset: number, limit: number, forWriting: boolean): Run {
  const { clusterSize, subclusterSize, clusterBits } = image.geometry
  const index = indexInSlice(image, offset)
  const inCluster = offset % clusterSize
  const entry = entryAt(image, table, index)
  const sub = Math.floor(inCluster / subclusterSize)
  const kind = kindOf(image, entry, sub)
  const problem = problemOf(image, table, entry, index, kind, offset, forWriting)
  if (problem) return { ...emptyRun(limit), kind: SubclusterKind.invalid, problem }
  if (kind === SubclusterKind.compressed) {
    const extent = compressedExtent(entry.hi, entry.lo, clusterBits)
    return {
      kind,
      bytes: Math.min(limit, clusterSize - inCluster),
      hostOffset: extent.hostOffset,
      copied: false,
      compressedBytes: extent.bytes,
    }
  }
  const isPlaced = hasHostCluster(kind)
  const hostOffset = isPlaced ? hostOffsetOf(entry.hi, entry.lo) : -1
  const copied = isPlaced && isCopied(entry.hi)
  const same = image.extendedL2 ? countSame(entry.zeroes, entry.allocated, sub, kind) : 1
  let length = same * subclusterSize - (inCluster % subclusterSize)
  if (inCluster + length === clusterSize && length < limit) {
    const alike: Alike = {
      kind,
      hostOffset,
      copied,
      mindOwner: isPlaced && (forWriting || image.hasDataFile),
    }
    length = runLength(image, table, index, alike, length, limit)
  }
  return {
    kind,
    bytes: Math.min(length, limit),
    hostOffset: isPlaced ? hostOffset + inCluster : 0,
    copied,
    compressedBytes: 0,
  }
}

/** The properties that the clusters of a run share. */
interface Alike {
  readonly kind: SubclusterKind
  /** Of the first cluster; -1 for kinds without a host cluster. */
  readonly hostOffset: number
  readonly copied: boolean
  /** COPIED must not change within the run. */
  readonly mindOwner: boolean
}

/**
 * The length in bytes of a run that begins with `inFirst` bytes in the cluster of entry `index`; looks no
 * further than `limit`. The words are read from the table one by one: no object is made per cluster.
 */
function runLength(
  image: Image,
  { view }: Table,
  index: number,
  { kind, hostOffset, copied, mindOwner }: Alike,
  inFirst: number,
  limit: number,
): number {
  const { extendedL2, hasDataFile } = image
  const { clusterSize, subclusterSize, subclusters, l2EntrySize } = image.geometry
  let expected = hostOffset
  let length = inFirst
  for (let at = (index + 1) * l2EntrySize; length < limit; at += l2EntrySize) {
    const hi = view.getUint32(at)
    const lo = view.getUint32(at + 4)
    expected += clusterSize
    if (hostOffset >= 0 && hostOffsetOf(hi, lo) !== expected) break
    if (mindOwner && isCopied(hi) !== copied) break
    if (!extendedL2) {
      if (undividedKind(hi, lo, hasDataFile) !== kind) break
      length += clusterSize
      continue
    }
    const zeroes = view.getUint32(at + 8)
    const allocated = view.getUint32(at + 12)
    if (subclusterKind(hi, lo, zeroes, allocated, 0, hasDataFile) !== kind) break
    const same = countSame(zeroes, allocated, 0, kind)
    length += same * subclusterSize
    if (same < subclusters) break
  }
  return length
}

/** The problem of an entry, if there is any. QEMU's messages (block/qcow2-cluster.c). */
function problemOf(
  image: Image,
  table: Table,
  entry: L2Entry,
  index: number,
  kind: SubclusterKind,
  offset: number,
  forWriting: boolean,
): string | undefined {
  const { clusterSize, l2EntrySize } = image.geometry
  // QEMU caches whole tables by default, so its indexes count from the start of the table.
  const l2Offset = (): number => alignDown(table.offset, clusterSize)
  const l2Index = (): string => prefixedHex(index + (table.offset - l2Offset()) / l2EntrySize)
  const position = (): string => `(L2 offset: ${prefixedHex(l2Offset())}, L2 index: ${l2Index()})`
  if (kind === SubclusterKind.invalid) return `Invalid cluster entry found  ${position()}`
  if (kind === SubclusterKind.compressed)
    return image.hasDataFile
      ? `Compressed cluster entry found in image with external data file ${position()}`
      : undefined
  const isZero = kind === SubclusterKind.zeroPlain || kind === SubclusterKind.zeroAlloc
  if (isZero && image.header.version < 3) return `Zero cluster entry found in pre-v3 image ${position()}`
  if (!hasHostCluster(kind)) return undefined
  const host = hostOffsetOf(entry.hi, entry.lo)
  if (host % clusterSize !== 0) {
    if (!forWriting || !isCopied(entry.hi))
      return `Cluster allocation offset ${prefixedHex(host)} unaligned ${position()}`
    const what = (entry.lo & ZERO_LO) !== 0 ? 'Preallocated zero' : 'Data'
    return `${what} cluster offset ${prefixedHex(host)} unaligned (guest offset: ${prefixedHex(offset)})`
  }
  const guestOffset = alignDown(offset, clusterSize)
  if (image.hasDataFile && host !== guestOffset)
    return `External data file host cluster offset ${prefixedHex(host)} does not match guest cluster offset: ${prefixedHex(guestOffset)}, L2 index: ${l2Index()})`
  return undefined
}
