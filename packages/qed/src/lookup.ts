/**
 * Looks up guest offsets in the tables. The answer is a {@link Run}; the caller does the I/O. Takes no lock;
 * touches the disk only for a table slice that is not cached.
 */
import {
  alignDown,
  BlockError,
  join64,
  type Table,
  type TableCache,
  TWO_32,
} from '@vmblock/block-core/driver'
import type { Image } from './image.ts'

/** The kind of a guest cluster. `invalid`: its entry, or that of its table, points where nothing can be. */
export const Kind = { unallocated: 0, zero: 1, data: 2, invalid: 3 } as const
/** One of {@link Kind}. */
export type Kind = (typeof Kind)[keyof typeof Kind]

/** A guest range that one kind of request can serve. */
export interface Run {
  readonly kind: Kind
  /** Guest bytes from the offset looked up. At least 1. */
  readonly bytes: number
  /** Host offset in bytes of the first byte of `data`; 0 for the other kinds. */
  readonly hostOffset: number
}

/** Bytes of an entry of either table. */
export const ENTRY = 8
/** Entry of a cluster that reads as zeroes. */
export const ZERO_CLUSTER = 1

/** An entry as a number; Infinity beyond 2^53-1, which no file reaches. */
export function entryAt(view: DataView, index: number): number {
  const hi = view.getUint32(index * ENTRY + 4, true)
  if (hi > 0x1f_ffff) return Number.POSITIVE_INFINITY
  return join64(hi, view.getUint32(index * ENTRY, true), 'table entry')
}

/** Changes an entry. The caller marks the slice as changed in the cache. */
export function setEntry(view: DataView, index: number, entry: number): void {
  view.setUint32(index * ENTRY, entry % TWO_32, true)
  view.setUint32(index * ENTRY + 4, Math.floor(entry / TWO_32), true)
}

/** The position of an entry: a slice of a cache (its host offset), and the index in it. */
export interface EntryPosition {
  readonly slice: number
  readonly index: number
}

/** The position of entry `index` of a table at a host offset. */
export function entryPosition(cache: TableCache, tableOffset: number, index: number): EntryPosition {
  const at = index * ENTRY
  return { slice: tableOffset + alignDown(at, cache.sliceSize), index: (at % cache.sliceSize) / ENTRY }
}

/** The position of the L1 entry for a guest offset. */
export const l1Position = (image: Image, offset: number): EntryPosition =>
  entryPosition(image.l1Table, image.header.l1TableOffset, Math.floor(offset / image.l2Coverage))

/** The position of the L2 entry for a guest offset, given the host offset of its table. */
export const l2Position = (image: Image, tableOffset: number, offset: number): EntryPosition =>
  entryPosition(image.l2Tables, tableOffset, Math.floor((offset % image.l2Coverage) / image.clusterSize))

/** Guest bytes that one slice of an L2 table describes. */
export const sliceCoverage = (image: Image): number => (image.l2Tables.sliceSize / ENTRY) * image.clusterSize

/** Loads a slice and returns it. Use it before the next await. */
export async function sliceAt(cache: TableCache, offset: number): Promise<Table> {
  for (;;) {
    const table = cache.peek(offset)
    if (table) return table
    await cache.load(offset)
  }
}

/**
 * The kind of an entry that points outside the file. While the need-check bit is set, a crash may have left
 * it, and the repair before the first write makes it unallocated; readers, which cannot repair, treat it the
 * same.
 */
const brokenKind = (image: Image): Kind => (image.needsRepair ? Kind.unallocated : Kind.invalid)

/**
 * The longest run at guest `offset`, at most `bytes`: of one kind, with contiguous host offsets, within one
 * slice.
 *
 * @returns the slice that has to be loaded first, if one is not cached
 */
export function peekRun(image: Image, offset: number, bytes: number): Run | Missing {
  const coverage = sliceCoverage(image)
  const limit = Math.min(bytes, coverage - (offset % coverage))
  const first = l1Position(image, offset)
  const l1 = image.l1Table.peek(first.slice)
  if (!l1) return { cache: image.l1Table, slice: first.slice }
  const tableOffset = entryAt(l1.view, first.index)
  if (tableOffset === 0) return { kind: Kind.unallocated, bytes: limit, hostOffset: 0 }
  if (!image.isTable(tableOffset)) return { kind: brokenKind(image), bytes: limit, hostOffset: 0 }
  const { slice, index } = l2Position(image, tableOffset, offset)
  const table = image.l2Tables.peek(slice)
  return table ? runAt(image, table, index, offset, limit) : { cache: image.l2Tables, slice }
}

/** A slice that is not cached. */
export interface Missing {
  readonly cache: TableCache
  readonly slice: number
}

/** Whether a lookup ended at a slice that is not cached. */
export const isMissing = (found: Run | Missing): found is Missing => 'cache' in found

/**
 * Like {@link peekRun}; reads slices if necessary. @throws BlockError EINVAL for a broken entry, as in QEMU
 */
export async function loadRun(image: Image, offset: number, bytes: number): Promise<Run> {
  for (;;) {
    const found = peekRun(image, offset, bytes)
    if (isMissing(found)) await found.cache.load(found.slice)
    else if (found.kind === Kind.invalid) throw invalidEntry(image, offset)
    else return found
  }
}

/** The error for a request that finds a broken entry. */
export const invalidEntry = (image: Image, offset: number): BlockError =>
  new BlockError('EINVAL', 'a table entry points outside the image file', { node: image.nodeName, offset })

function runAt(image: Image, table: Table, index: number, offset: number, limit: number): Run {
  const { clusterSize } = image
  const entry = entryAt(table.view, index)
  const kind = kindOf(image, entry)
  const step = kind === Kind.data ? clusterSize : 0
  let length = clusterSize - (offset % clusterSize)
  for (let next = index + 1; length < limit; next++, length += clusterSize) {
    const other = entryAt(table.view, next)
    if (kindOf(image, other) !== kind || (step > 0 && other !== entry + (next - index) * step)) break
  }
  return {
    kind,
    bytes: Math.min(length, limit),
    hostOffset: step > 0 ? entry + (offset % clusterSize) : 0,
  }
}

/** The kind of an L2 entry. */
export function kindOf(image: Image, entry: number): Kind {
  if (entry === 0) return Kind.unallocated
  if (entry === ZERO_CLUSTER) return Kind.zero
  return image.isCluster(entry) ? Kind.data : brokenKind(image)
}
