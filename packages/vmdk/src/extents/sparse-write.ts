/**
 * Writes sparse extents: in place if there is a grain, else append - write - link. The link comes last, so a crash before it leaks
 * grains and loses nothing.
 */
import {
  alignDown,
  alignUp,
  BlockError,
  inParts,
  type NewClusters,
  SECTOR,
  type WriteFlags,
  writeWithCopies,
} from '@vmblock/block-core/driver'
import { writeStream, zeroStream } from './compressed-write.ts'
import { Kind, kindOf, loadRun, peekRun, type Run, setEntries, writableTable, ZERO_GRAIN } from './lookup.ts'
import type { SparseExtent } from './sparse.ts'
import { readSparse, readsAsZero } from './sparse-read.ts'
import { ENTRY } from './table-log.ts'

/** Writes `from` at an offset of the extent. */
export async function writeSparse(extent: SparseExtent, offset: number, from: Uint8Array): Promise<void> {
  if (extent.isCompressed) return writeStream(extent, offset, from)
  const first = peekRun(extent, offset, from.length)
  if (first && first.kind === Kind.data && first.bytes === from.length)
    return writeInPlace(extent, first, from)
  await inParts(from.length, async (done, parts) => {
    const run = await loadRun(extent, offset + done, from.length - done)
    if (run.kind !== Kind.data) return writeNew(extent, offset + done, from.subarray(done))
    await parts.add(() => writeInPlace(extent, run, from.subarray(done, done + run.bytes)))
    return run.bytes
  })
}

/** @throws BlockError EIO where a wrong entry would make data overwrite the header or the tables in front */
function requireGrain({ header, start }: SparseExtent, { hostOffset }: Run): void {
  if (hostOffset >= Math.max(header.overhead, SECTOR)) return
  throw new BlockError('EIO', `A grain at ${hostOffset} would lie in the header or the tables`, {
    offset: start,
  })
}

async function writeInPlace(extent: SparseExtent, run: Run, from: Uint8Array): Promise<void> {
  requireGrain(extent, run)
  const announced = extent.file.debugEvent('write_aio')
  if (announced) await announced
  await extent.file.write(run.hostOffset, from)
}

/** Writes tables when half of their cache has changed, so that memory stays bounded. Takes the lock. */
export async function relieve(extent: SparseExtent): Promise<void> {
  if (extent.tables.isCrowded) await extent.lock.run(() => extent.writeTables())
}

/** Grains for a range that has none; no entry points at them yet. */
interface Reserved {
  /** Of the table, and of the first entry in it. */
  readonly index: number
  readonly first: number
  readonly grains: number
  readonly hostOffset: number
}

/** How many entries of a table from `first` on, at most `count`, have no data. */
function freeEntries(extent: SparseExtent, view: DataView, first: number, count: number): number {
  for (let i = 0; i < count; i++)
    if (kindOf(extent, view.getUint32((first + i) * ENTRY, true)) === Kind.data) return i
  return count
}

/** Reserves grains for the longest first part of a range, within one table, that has none. Runs under the lock. */
async function reserve(extent: SparseExtent, start: number, bytes: number): Promise<Reserved | undefined> {
  const { coverage, grainSize } = extent
  const index = Math.floor(start / coverage)
  const first = (start % coverage) / grainSize
  const { view } = await writableTable(extent, index)
  const grains = freeEntries(extent, view, first, bytes / grainSize)
  if (grains === 0) return undefined
  return { index, first, grains, hostOffset: await extent.append(grains * grainSize, grainSize) }
}

/**
 * Writes the first part of `from`, for which grains have to be allocated.
 *
 * @returns how many bytes were written: up to the first grain that there is
 */
function writeNew(extent: SparseExtent, offset: number, from: Uint8Array): Promise<number> {
  const { grainSize, coverage } = extent
  const bytes = Math.min(from.length, coverage - (offset % coverage))
  const start = alignDown(offset, grainSize)
  const length = alignUp(offset + bytes, grainSize) - start
  // Other requests that allocate or zero these grains wait, and then look again.
  return extent.allocating.run(start, length, true, async () => {
    if (extent.tables.isFull) await extent.lock.run(() => extent.writeTables())
    const reserved = await extent.lock.run(() => reserve(extent, start, length))
    if (!reserved) return 0 // another request allocated it meanwhile: it can be written in place now
    const { index, first, grains, hostOffset } = reserved
    const size = grains * grainSize
    const part = from.subarray(0, Math.min(bytes, start + size - offset))
    try {
      await writeWithCopies(newGrains(extent, start, size, hostOffset), offset, part)
      await extent.lock.run(() =>
        setEntries(extent, index, first, grains, (i) => (hostOffset + i * grainSize) / SECTOR),
      )
    } catch (error) {
      await extent.lock.run(async () => extent.takeBack(hostOffset, size))
      throw error
    }
    await relieve(extent)
    return part.length
  })
}

/** Grains are written whole, zeroes included; where the disk ends within the last one, it has zeroes. */
const newGrains = (extent: SparseExtent, start: number, bytes: number, hostOffset: number): NewClusters => {
  const inside = (at: number, length: number): number => Math.max(0, Math.min(length, extent.bytes - at))
  return {
    data: extent.file,
    announceTo: extent.file,
    start,
    end: start + bytes,
    hostOffset,
    zeroed: false,
    readsAsZero: (at, length) => readsAsZero(extent, at, inside(at, length)),
    readOld: (at, into) => readSparse(extent, at, into.subarray(0, inside(at, into.length))),
  }
}

/**
 * Zeroes a range of the extent. Grains that there are, are zeroed where they lie: they could never be used again.
 *
 * @throws BlockError ENOTSUP where a parent shows through, and no entry can say that a grain is zero: then zeroes have to be written
 */
export async function zeroSparse(
  extent: SparseExtent,
  offset: number,
  bytes: number,
  { mayUnmap = false }: WriteFlags,
): Promise<void> {
  if (extent.isCompressed) return zeroStream(extent, offset, bytes)
  await inParts(bytes, async (done, parts) => {
    const run = await loadRun(extent, offset + done, bytes - done)
    if (run.kind === Kind.data) {
      requireGrain(extent, run)
      await parts.add(() => extent.file.writeZeroes(run.hostOffset, run.bytes, { mayUnmap }))
      return run.bytes
    }
    if (run.kind === Kind.zero || !extent.parent.backing) return run.bytes
    return zeroUnallocated(extent, offset + done, run.bytes)
  })
}

/** @returns how many bytes were zeroed: up to the first grain that is no longer unallocated */
function zeroUnallocated(extent: SparseExtent, offset: number, bytes: number): Promise<number> {
  const { grainSize, coverage, header } = extent
  const isWhole = offset % grainSize === 0 && (bytes % grainSize === 0 || offset + bytes === extent.bytes)
  if (!header.hasZeroGrains || !isWhole)
    throw new BlockError(
      'ENOTSUP',
      'only whole grains can be zeroed by metadata, where the image allows that',
    )
  const length = alignUp(bytes, grainSize)
  return extent.allocating.run(offset, length, true, async () => {
    if (extent.tables.isFull) await extent.lock.run(() => extent.writeTables())
    const zeroed = await extent.lock.run(async () => {
      const index = Math.floor(offset / coverage)
      const first = (offset % coverage) / grainSize
      const { view } = await writableTable(extent, index)
      const grains = freeEntries(extent, view, first, length / grainSize)
      if (grains > 0) await setEntries(extent, index, first, grains, () => ZERO_GRAIN)
      return grains
    })
    await relieve(extent)
    return Math.min(zeroed * grainSize, bytes)
  })
}
