/**
 * Finds grains in the tables of a sparse extent. The answer is a {@link Run}; the caller does the I/O. Takes no lock; touches the
 * disk only for a table that is not cached.
 */
import { BlockError, SECTOR } from '@vmblock/block-core/driver'
import { mostPacked } from './compressed-read.ts'
import type { SparseExtent } from './sparse.ts'
import { ENTRY } from './table-log.ts'

/** What is known of a grain. */
export const Kind = { unallocated: 0, zero: 1, data: 2, compressed: 3 } as const
/** One of {@link Kind}. */
export type Kind = (typeof Kind)[keyof typeof Kind]

/** An entry that says that its grain reads as zeroes, where the header allows that. */
export const ZERO_GRAIN = 1

/** A range of an extent that one kind of request can serve. */
export interface Run {
  readonly kind: Kind
  /** From the offset looked up. At least 1. */
  readonly bytes: number
  /** Host offset of the first byte of `data`; 0 for the others. */
  readonly hostOffset: number
  /** `compressed`: host offsets of the grains, in ascending order. */
  readonly packed?: readonly number[]
}

/** Most compressed grains of one run: what is decompressed at once. */
const MOST_PACKED = 16

/** A table whose entries can be read and, under the lock and without waiting, changed. */
export interface Entries {
  readonly view: DataView
}

/** The entries of a table; undefined if there is no table. @throws BlockError EIO if it is not inside the file */
export function peekTable(extent: SparseExtent, index: number): Entries | undefined | 'missing' {
  const logged = extent.log?.peek(index)
  if (logged) return logged
  const sector = extent.directory[index]!
  if (sector === 0) return undefined
  const offset = sector * SECTOR
  return extent.tables.peek(offset) ?? 'missing'
}

/** Reads a table into the cache. @throws BlockError EIO if it is not inside the file */
export async function loadTable(extent: SparseExtent, index: number): Promise<void> {
  const offset = extent.directory[index]! * SECTOR
  // QEMU takes what it cannot read for a hole, and shows zeroes.
  if (offset + extent.header.tableEntries * ENTRY > extent.file.size)
    throw new BlockError('EIO', `Grain table ${index} at ${offset} is outside the file`, {
      offset: extent.start + index * extent.coverage,
    })
  await extent.tables.load(offset)
}

/** The kind of an entry. */
export function kindOf({ header }: SparseExtent, entry: number): Kind {
  if (entry === 0) return Kind.unallocated
  if (entry === ZERO_GRAIN && header.hasZeroGrains) return Kind.zero
  return header.isCompressed ? Kind.compressed : Kind.data
}

/** The longest run at an offset, at most `bytes`: of one kind, contiguous in the file, within one table. */
export function peekRun(extent: SparseExtent, offset: number, bytes: number): Run | undefined {
  const { coverage, grainSize } = extent
  const index = Math.floor(offset / coverage)
  const limit = Math.min(bytes, coverage - (offset % coverage))
  const table = peekTable(extent, index)
  if (table === 'missing') return undefined
  if (!table) return { kind: Kind.unallocated, bytes: limit, hostOffset: 0 }
  const inGrain = offset % grainSize
  const first = Math.floor((offset % coverage) / grainSize)
  const entry = table.view.getUint32(first * ENTRY, true)
  const kind = kindOf(extent, entry)
  let length = grainSize - inGrain
  if (kind === Kind.compressed) {
    const packed = [entry * SECTOR]
    for (let next = first + 1; length < limit && packed.length < MOST_PACKED; next++, length += grainSize) {
      const host = table.view.getUint32(next * ENTRY, true) * SECTOR
      const gap = host - packed.at(-1)!
      if (gap <= 0 || gap > mostPacked(grainSize)) break
      packed.push(host)
    }
    return { kind, bytes: Math.min(length, limit), hostOffset: 0, packed }
  }
  const step = kind === Kind.data ? grainSize / SECTOR : 0
  for (let next = first + 1; length < limit; next++, length += grainSize) {
    const other = table.view.getUint32(next * ENTRY, true)
    if (kindOf(extent, other) !== kind || (step > 0 && other !== entry + (next - first) * step)) break
  }
  const hostOffset = kind === Kind.data ? entry * SECTOR + inGrain : 0
  return { kind, bytes: Math.min(length, limit), hostOffset }
}

/** Like {@link peekRun}; reads the table if necessary. @throws BlockError EIO */
export async function loadRun(extent: SparseExtent, offset: number, bytes: number): Promise<Run> {
  for (;;) {
    const run = peekRun(extent, offset, bytes)
    if (run) return run
    await loadTable(extent, Math.floor(offset / extent.coverage))
  }
}

/** {@link peekRun}, or else {@link loadRun}. */
export const runAt = (extent: SparseExtent, offset: number, bytes: number): Run | Promise<Run> =>
  peekRun(extent, offset, bytes) ?? loadRun(extent, offset, bytes)

/** The entries of a table that there is, or that is made. Runs under the lock; no waiting between this and a change. */
export async function writableTable(extent: SparseExtent, index: number): Promise<Entries> {
  if (extent.log) return extent.log.writable(index)
  if (extent.directory[index] === 0) await extent.newTable(index)
  for (;;) {
    const table = peekTable(extent, index)
    if (table && table !== 'missing') return table
    await loadTable(extent, index)
  }
}

/** Writes `count` entries of a table from `first` on, in memory. Runs under the lock. */
export async function setEntries(
  extent: SparseExtent,
  index: number,
  first: number,
  count: number,
  entryOf: (i: number) => number,
): Promise<void> {
  const { view } = await writableTable(extent, index)
  for (let i = 0; i < count; i++) view.setUint32((first + i) * ENTRY, entryOf(i), true)
  if (extent.log) return extent.log.changed(index)
  const table = extent.tables.peek(extent.directory[index]! * SECTOR)!
  extent.tables.changed(table, first * ENTRY, (first + count) * ENTRY)
  extent.changed(index, first * ENTRY, (first + count) * ENTRY)
  extent.tables.followData()
}
