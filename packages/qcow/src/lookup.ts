/**
 * Looks up guest offsets in the tables. The answer is a {@link Run}; the caller does the I/O. Takes no lock; touches the disk only
 * for a slice that is not cached.
 */
import { alignDown, BlockError, type Table, type TableCache } from '@vmblock/block-core/driver'
import { type Entry, l1EntryAt, l2EntryAt } from './format/entries.ts'
import { ENTRY } from './format/header.ts'
import type { Image } from './image.ts'

/** The kind of a guest cluster. `invalid`: its entry, or that of its table, points where nothing can be. */
export const Kind = { unallocated: 0, data: 1, compressed: 2, invalid: 3 } as const
/** One of {@link Kind}. */
export type Kind = (typeof Kind)[keyof typeof Kind]

/** A guest range that one kind of request can serve. */
export interface Run {
  readonly kind: Kind
  /** Guest bytes from the offset looked up. At least 1; for `compressed`, within a cluster. */
  readonly bytes: number
  /** Host offset in bytes of the first byte of `data`; of the compressed data of the cluster; else 0. */
  readonly hostOffset: number
  /** Bytes of compressed data. */
  readonly compressedBytes: number
}

/** The position of an entry: a slice of a cache (its host offset), and the index in it. */
export interface EntryPosition {
  readonly slice: number
  readonly index: number
}

const entryPosition = (cache: TableCache, tableOffset: number, index: number): EntryPosition => {
  const at = index * ENTRY
  return { slice: tableOffset + alignDown(at, cache.sliceSize), index: (at % cache.sliceSize) / ENTRY }
}

/** The position of the L1 entry for a guest offset. */
export const l1Position = ({ l1Table, header }: Image, offset: number): EntryPosition =>
  entryPosition(l1Table, header.l1TableOffset, Math.floor(offset / header.coverage))

/** The position of the L2 entry for a guest offset, given the host offset of its table. */
export const l2Position = ({ l2Tables, header }: Image, tableOffset: number, offset: number): EntryPosition =>
  entryPosition(l2Tables, tableOffset, Math.floor((offset % header.coverage) / header.clusterSize))

/** Guest bytes that one slice of an L2 table describes. */
export const sliceCoverage = ({ l2Tables, header }: Image): number =>
  (l2Tables.sliceSize / ENTRY) * header.clusterSize

/** Loads a slice and returns it. Use it before the next await. */
export async function sliceAt(cache: TableCache, offset: number): Promise<Table> {
  for (;;) {
    const table = cache.peek(offset)
    if (table) return table
    await cache.load(offset)
  }
}

/** What an entry is. */
export function kindOf(image: Image, { offset, compressedBytes }: Entry): Kind {
  if (compressedBytes > 0) return image.isPlaceOfBytes(offset) ? Kind.compressed : Kind.invalid
  if (offset === 0) return Kind.unallocated
  return image.isPlace(offset) ? Kind.data : Kind.invalid
}

/** A slice that is not cached. */
export interface Missing {
  readonly cache: TableCache
  readonly slice: number
}

/** Whether a lookup ended at a slice that is not cached. */
export const isMissing = (found: Run | Missing): found is Missing => 'cache' in found

const simple = (kind: Kind, bytes: number): Run => ({ kind, bytes, hostOffset: 0, compressedBytes: 0 })

/**
 * The longest run at guest `offset`, at most `bytes`: of one kind, with contiguous host offsets, within one slice.
 *
 * @returns the slice that has to be loaded first, if one is not cached
 */
export function peekRun(image: Image, offset: number, bytes: number): Run | Missing {
  const coverage = sliceCoverage(image)
  const limit = Math.min(bytes, coverage - (offset % coverage))
  const first = l1Position(image, offset)
  const l1 = image.l1Table.peek(first.slice)
  if (!l1) return { cache: image.l1Table, slice: first.slice }
  const tableOffset = l1EntryAt(l1.view, first.index)
  if (tableOffset === 0) return simple(Kind.unallocated, limit)
  if (!image.isPlace(tableOffset)) return simple(Kind.invalid, limit)
  const { slice, index } = l2Position(image, tableOffset, offset)
  const table = image.l2Tables.peek(slice)
  if (table) return runAt(image, table, index, offset, limit)
  // A crash of QEMU left the entry of a table that was never written.
  if (slice >= image.file.size) return simple(Kind.unallocated, limit)
  return { cache: image.l2Tables, slice }
}

function runAt(image: Image, table: Table, index: number, offset: number, limit: number): Run {
  const { clusterSize, clusterBits } = image.header
  const within = offset % clusterSize
  const entry = l2EntryAt(table.view, index, clusterBits)
  const kind = kindOf(image, entry)
  let bytes = clusterSize - within
  if (kind === Kind.compressed)
    return {
      kind,
      bytes: Math.min(bytes, limit),
      hostOffset: entry.offset,
      compressedBytes: entry.compressedBytes,
    }
  for (let i = 1; bytes < limit; i++, bytes += clusterSize) {
    const next = l2EntryAt(table.view, index + i, clusterBits)
    const isNext = kind === Kind.data ? next.offset === entry.offset + i * clusterSize : next.offset === 0
    if (next.compressedBytes > 0 || kindOf(image, next) !== kind || !isNext) break
  }
  const hostOffset = kind === Kind.data ? entry.offset + within : 0
  return { kind, bytes: Math.min(bytes, limit), hostOffset, compressedBytes: 0 }
}

/** Like {@link peekRun}; reads slices if necessary. @throws BlockError EIO for a broken entry, as in QEMU */
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
  new BlockError('EIO', 'a table entry points where no cluster can be', { node: image.nodeName, offset })
