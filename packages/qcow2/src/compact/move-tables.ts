/**
 * Moves what lies in several clusters in a row, and cannot be taken apart: L1 tables, the refcount table, the table of
 * snapshots, the directory and the tables of bitmaps; and refcount blocks. The area of LUKS stays where it is: freed
 * clusters would keep a copy of key material, which erasing a slot could no longer reach.
 */
import { divUp } from '@vmblock/block-core/driver'
import type { Image } from '../image/image.ts'
import { beforeActivate } from '../image/write-order.ts'
import { setTableEntry } from '../refcounts/refcount-growth.ts'
import { addToRefcounts, getRefcount, refblockOffset, refcountTableEntries } from '../refcounts/refcounts.ts'
import { setRefcount } from '../refcounts/repair-refcounts.ts'
import { flushImage } from '../requests/flush.ts'
import { Entries, type Entry } from './entries.ts'
import { loadRoots, type Roots } from './roots.ts'
import { settle } from './settle.ts'
import { type Targets, takeBelow } from './survey.ts'

/** Bytes that are copied at once. */
const PIECE = 2 ** 20

/** A structure of one or more clusters. */
interface Run {
  /** Bytes of the image file. */
  readonly offset: number
  readonly bytes: number
  /** Durably points at the copy, at a host offset in bytes. If it fails, the disk may hold either state. */
  point(offset: number): Promise<void>
}

/**
 * Moves those that reach beyond `end` (an index of a cluster), if there is room for them before the place where they are.
 * No request may be in flight.
 *
 * @returns bytes that were moved
 * @throws the error of the file
 */
export async function moveRuns(image: Image, end: number, targets: Targets): Promise<number> {
  let moved = 0
  // Moving one may move the entry that leads to another.
  for (let index = 0; ; index++) {
    await settle(image)
    const run = runsOf(image, await loadRoots(image))[index]
    if (!run) return moved
    moved += await moveRun(image, run, end, targets)
  }
}

function runsOf(image: Image, roots: Roots): Run[] {
  const { header, headerWriter } = image
  const { nbSnapshots, extensions } = header
  const runs: Run[] = [
    {
      offset: header.l1TableOffset,
      bytes: image.l1.bytes.length,
      point: (l1TableOffset) => headerWriter.change({ l1Size: header.l1Size, l1TableOffset }),
    },
    {
      offset: header.refcountTableOffset,
      bytes: image.refcountTable.bytes.length,
      point: (refcountTableOffset) =>
        headerWriter.change({
          refcountTableOffset,
          refcountTableClusters: header.refcountTableClusters,
        }),
    },
    {
      offset: header.snapshotsOffset,
      bytes: roots.snapshotBytes,
      point: (snapshotsOffset) => headerWriter.change({ nbSnapshots, snapshotsOffset }),
    },
  ]
  const { bitmaps } = extensions
  if (roots.bitmaps.length > 0)
    runs.push({
      offset: bitmaps!.directoryOffset,
      bytes: bitmaps!.directorySize,
      point: (directoryOffset) =>
        headerWriter.rewrite({ extensions: { ...extensions, bitmaps: { ...bitmaps!, directoryOffset } } }),
    })
  const inEntry = (offset: number, bytes: number, at: number): Run => ({
    offset,
    bytes,
    point: (to) => pointEntry(image, roots, at, to),
  })
  for (const { offset, entries, snapshotAt } of roots.l1Tables)
    if (snapshotAt !== undefined) runs.push(inEntry(offset, entries * 8, snapshotAt))
  for (const { tableOffset, tableSize, at } of roots.bitmaps)
    runs.push(inEntry(tableOffset, tableSize * 8, at))
  return runs
}

/** Changes the offset at the start of an entry of the table of snapshots or of the directory of bitmaps. */
async function pointEntry(image: Image, roots: Roots, at: number, to: number): Promise<void> {
  const entries = new Entries(image, roots)
  const entry: Entry = { at, hi: 0, lo: 0, leadsTo: 'table', guest: 0, cached: undefined }
  entries.redirect(entry, to)
  await entries.commit()
  await image.flushFile()
}

async function moveRun(image: Image, run: Run, end: number, targets: Targets): Promise<number> {
  const { clusterSize } = image.geometry
  const { offset, bytes, point } = run
  const count = divUp(bytes, clusterSize)
  const first = offset / clusterSize
  if (bytes === 0 || offset % clusterSize !== 0 || first + count <= end) return 0
  const to = await image.lock.run(() => takeFor(image, first, count, targets))
  if (to === undefined) return 0
  const undo = async (): Promise<void> => {
    for (let at = to; at < to + count; at++) await setRefcount(image, at, 0)
  }
  try {
    await copy(image, offset, to * clusterSize, count * clusterSize)
    await image.lock.run(() => beforeActivate(image))
  } catch (error) {
    await image.lock.run(undo).catch(() => undefined)
    throw error
  }
  try {
    await point(to * clusterSize)
  } catch (error) {
    // The disk may lead to the copy: it stays until the next flush has written which it is.
    image.frees.add(to * clusterSize, count * clusterSize, 'other')
    throw error
  }
  image.overlaps.forget()
  image.frees.add(offset, count * clusterSize, 'other')
  await flushImage(image)
  return count * clusterSize
}

/** Takes a run of clusters before `first`; all of them must be known to be free. Nothing else may refer to the old ones. */
async function takeFor(
  image: Image,
  first: number,
  count: number,
  targets: Targets,
): Promise<number | undefined> {
  for (let at = first; at < first + count; at++) if ((await getRefcount(image, at)) !== 1) return undefined
  image.freeHint.moveTo(0)
  const to = await takeBelow(image, count, first)
  if (to === undefined || targets.hasAll(to, count)) return to
  await addToRefcounts(image, to, count, -1)
  return undefined
}

/** Copies bytes of the file. The copy of a table in memory that was written back is on disk. */
async function copy(image: Image, from: number, to: number, bytes: number): Promise<void> {
  for (let done = 0; done < bytes; done += PIECE) {
    const piece = new Uint8Array(Math.min(PIECE, bytes - done))
    await image.file.read(from + done, piece)
    await image.file.write(to + done, piece)
  }
}

/**
 * Moves refcount blocks that lie behind `end` (an index of a cluster). Each counts itself or is counted by another one,
 * so they move one by one. No request may be in flight.
 *
 * @returns bytes that were moved
 * @throws the error of the file
 */
export async function moveRefblocks(image: Image, end: number, targets: Targets): Promise<number> {
  const { clusterSize } = image.geometry
  await settle(image)
  let moved = 0
  for (let index = 0; index < refcountTableEntries(image); index++) {
    const offset = refblockOffset(image, index)
    if (offset === 0 || offset % clusterSize !== 0 || offset / clusterSize < end) continue
    if (await image.lock.run(() => moveRefblock(image, index, offset, targets))) moved += clusterSize
  }
  return moved
}

async function moveRefblock(image: Image, index: number, offset: number, targets: Targets): Promise<boolean> {
  const { clusterSize } = image.geometry
  const to = await takeFor(image, offset / clusterSize, 1, targets)
  if (to === undefined) return false
  const host = to * clusterSize
  // From here on no refcount changes until the entry leads to the copy.
  try {
    await image.refblocks.writeBack()
    await copy(image, offset, host, clusterSize)
    await image.flushFile()
  } catch (error) {
    await setRefcount(image, to, 0)
    throw error
  }
  try {
    await setTableEntry(image, index, host)
  } catch (error) {
    image.frees.add(host, clusterSize, 'other')
    throw error
  }
  image.refblocks.drop(offset, clusterSize)
  image.freeRuns.clear()
  image.overlaps.forget()
  await addToRefcounts(image, offset / clusterSize, 1, -1)
  return true
}
