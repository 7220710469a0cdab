/** Allocates clusters and tables at the end of the file, and links them. Runs under the image's lock. */
import type { Table } from '@vmblock/block-core/driver'
import type { Image } from './image.ts'
import {
  ENTRY,
  type EntryPosition,
  entryAt,
  invalidEntry,
  Kind,
  kindOf,
  l1Position,
  l2Position,
  setEntry,
  sliceAt,
} from './lookup.ts'

/** Clusters for a guest range that has none; no entry points at them yet. */
export interface Reserved {
  /** Position of the first entry. */
  readonly position: EntryPosition
  readonly clusters: number
  /** Host offset in bytes of the first cluster. */
  readonly hostOffset: number
  /** They held something before. */
  readonly isUsed: boolean
}

/**
 * Reserves clusters for the longest first part of `clusters` guest clusters at `start` (bytes), within one
 * slice, that has none.
 *
 * @returns undefined if the first guest cluster has a host cluster already
 */
export async function reserve(image: Image, start: number, clusters: number): Promise<Reserved | undefined> {
  const position = await writablePosition(image, start)
  const table = await sliceAt(image.l2Tables, position.slice)
  const count = countEntries(image, table, position.index, clusters, (kind) => kind !== Kind.data)
  if (count === 0) return undefined
  const { offset, isUsed } = await image.append(count * image.clusterSize)
  return { position, clusters: count, hostOffset: offset, isUsed }
}

/** Points the L2 entries of a reservation at its clusters, whose data was written. */
export async function link(
  image: Image,
  { position, clusters, hostOffset, isUsed }: Reserved,
): Promise<void> {
  await image.beforeLink(isUsed)
  await setEntries(image, position, clusters, (index) => hostOffset + index * image.clusterSize)
}

/** Replaces `count` entries within one slice; `entryOf` counts from 0. */
export async function setEntries(
  image: Image,
  { slice, index }: EntryPosition,
  count: number,
  entryOf: (index: number) => number,
): Promise<void> {
  const table = await sliceAt(image.l2Tables, slice)
  for (let i = 0; i < count; i++) setEntry(table.view, index + i, entryOf(i))
  image.l2Tables.changed(table, index * ENTRY, (index + count) * ENTRY)
}

/** How many of `count` entries, from the first on, are of the wanted kinds. @throws BlockError EINVAL */
export function countEntries(
  image: Image,
  table: Table,
  index: number,
  count: number,
  isWanted: (kind: Kind) => boolean,
): number {
  for (let i = 0; i < count; i++) {
    const kind = kindOf(image, entryAt(table.view, index + i))
    if (kind === Kind.invalid) throw invalidEntry(image, table.offset)
    if (!isWanted(kind)) return i
  }
  return count
}

/** The position of the L2 entry for a guest offset, in a table that is created if there is none. */
export async function writablePosition(image: Image, offset: number): Promise<EntryPosition> {
  const { slice, index } = l1Position(image, offset)
  const l1 = await sliceAt(image.l1Table, slice)
  const tableOffset = entryAt(l1.view, index)
  if (tableOffset !== 0 && !image.isTable(tableOffset)) throw invalidEntry(image, offset)
  return l2Position(image, tableOffset === 0 ? await newTable(image, { slice, index }) : tableOffset, offset)
}

/** Appends an empty L2 table. It is durable before the L1 entry points at it. @returns its host offset */
async function newTable(image: Image, { slice, index }: EntryPosition): Promise<number> {
  const { tableBytes } = image
  const { offset } = await image.append(tableBytes)
  try {
    await image.file.writeZeroes(offset, tableBytes)
    await image.flushFile()
  } catch (error) {
    await image.release(offset, tableBytes)
    throw error
  }
  const l1 = await sliceAt(image.l1Table, slice)
  setEntry(l1.view, index, offset)
  image.l1Table.changed(l1, index * ENTRY, (index + 1) * ENTRY)
  // The table is in use from here on; if this write fails, a later one brings the entry to disk.
  await image.l1Table.writeBack()
  return offset
}

/** Writes tables back when half of a cache is dirty, so that memory stays bounded. Takes the image's lock. */
export async function relieve(image: Image): Promise<void> {
  if (image.l2Tables.isCrowded) await image.lock.run(() => image.l2Tables.writeBack())
}

/**
 * Called before tables are changed. If a cache is full of changes, writes them first, so that memory stays
 * bounded if writing fails. Takes the image's lock.
 *
 * @throws the error of writing them
 */
export async function makeRoom(image: Image): Promise<void> {
  if (image.l2Tables.isFull || image.l1Table.isFull) await image.lock.run(() => image.writeTables())
}
