/**
 * Writes compressed extents: whole grains, each behind its marker, at the end of the file. A grain that is written again is appended
 * again; what it held before stays in the file, unused. QEMU refuses that.
 */
import { alignDown, alignUp, BlockError, isZero, SECTOR } from '@vmblock/block-core/driver'
import { loadDeflate } from '@vmblock/compression'
import { GRAIN_MARKER } from '../format/markers.ts'
import { zlibOf } from '../format/zlib.ts'
import { Kind, runAt, setEntries } from './lookup.ts'
import type { SparseExtent } from './sparse.ts'
import { readSparse } from './sparse-read.ts'

/** Bytes of guest data that are compressed and written at once. */
const PIECE = 2 ** 20

/** Writes `from` at an offset of the extent; parts of grains are completed with what they hold. */
export async function writeStream(extent: SparseExtent, offset: number, from: Uint8Array): Promise<void> {
  const { grainSize, coverage } = extent
  const most = Math.max(grainSize, alignDown(PIECE, grainSize))
  for (let done = 0; done < from.length; ) {
    const at = offset + done
    // Within one table, and in whole grains but for the ends.
    const stop = Math.min(alignDown(at, grainSize) + most, alignDown(at, coverage) + coverage)
    const bytes = Math.min(from.length - done, stop - at)
    const piece = from.subarray(done, done + bytes)
    const start = alignDown(at, grainSize)
    const length = alignUp(at + bytes, grainSize) - start
    await extent.allocating.run(start, length, true, () => writePiece(extent, at, piece))
    done += bytes
  }
}

async function writePiece(extent: SparseExtent, offset: number, from: Uint8Array): Promise<void> {
  if (extent.tables.isFull) await extent.lock.run(() => extent.writeTables())
  const { grainSize, file } = extent
  const start = alignDown(offset, grainSize)
  const grains = (alignUp(offset + from.length, grainSize) - start) / grainSize
  const { compress } = await loadDeflate()
  const packed = await Promise.all(
    Array.from({ length: grains }, async (_, i) => {
      const at = start + i * grainSize
      const grain = await wholeGrain(extent, at, offset, from)
      // A hole shows the same.
      if (!extent.parent.backing && isZero(grain) && (await isHole(extent, at))) return undefined
      return packedGrain((extent.start + at) / SECTOR, grain, await compress(grain))
    }),
  )
  const places: number[] = []
  let size = 0
  for (const each of packed) {
    places.push(size)
    size += each?.length ?? 0
  }
  if (size === 0) return
  const bytes = new Uint8Array(size)
  for (const [i, each] of packed.entries()) if (each) bytes.set(each, places[i])
  const host = await extent.lock.run(() => extent.append(size, SECTOR))
  try {
    const announced = file.debugEvent('write_compressed')
    if (announced) await announced
    await file.write(host, bytes)
    await extent.lock.run(async () => {
      const index = Math.floor(start / extent.coverage)
      const first = (start % extent.coverage) / grainSize
      for (const [i, each] of packed.entries())
        if (each) await setEntries(extent, index, first + i, 1, () => (host + places[i]!) / SECTOR)
    })
  } catch (error) {
    await extent.lock.run(async () => extent.takeBack(host, size))
    throw error
  }
  if (extent.tables.isCrowded) await extent.lock.run(() => extent.writeTables())
}

/** The grain at `at` after the write of `from` at `offset`; zeroes behind the end of the disk. */
async function wholeGrain(
  extent: SparseExtent,
  at: number,
  offset: number,
  from: Uint8Array,
): Promise<Uint8Array> {
  const { grainSize } = extent
  if (at >= offset && at + grainSize <= offset + from.length)
    return from.subarray(at - offset, at - offset + grainSize)
  const grain = new Uint8Array(grainSize)
  const inside = grain.subarray(0, Math.min(grainSize, extent.bytes - at))
  if (at < offset || at + inside.length > offset + from.length) await readSparse(extent, at, inside)
  const skip = Math.max(offset - at, 0)
  grain.set(from.subarray(Math.max(at - offset, 0), at + grainSize - offset), skip)
  return grain
}

async function isHole(extent: SparseExtent, at: number): Promise<boolean> {
  return (await runAt(extent, at, 1)).kind === Kind.unallocated
}

/** A grain as it lies in the file: marker, zlib stream, zeroes up to a sector. */
function packedGrain(sector: number, grain: Uint8Array, deflated: Uint8Array | undefined): Uint8Array {
  const stream = zlibOf(grain, deflated)
  const bytes = new Uint8Array(alignUp(GRAIN_MARKER.size + stream.length, SECTOR))
  GRAIN_MARKER.write(bytes, { sector: BigInt(sector), bytes: stream.length })
  bytes.set(stream, GRAIN_MARKER.size)
  return bytes
}

/**
 * Zeroes a range of whole grains, which become holes.
 *
 * @throws BlockError ENOTSUP over a parent, and for parts of grains: then zeroes have to be written
 */
export async function zeroStream(extent: SparseExtent, offset: number, bytes: number): Promise<void> {
  const { grainSize, coverage } = extent
  const isWhole = offset % grainSize === 0 && (bytes % grainSize === 0 || offset + bytes === extent.bytes)
  if (extent.parent.backing || !isWhole)
    throw new BlockError('ENOTSUP', 'only whole grains of a stream without parent become holes')
  for (let done = 0; done < bytes; ) {
    const at = offset + done
    const run = await runAt(extent, at, bytes - done)
    done += run.bytes
    if (run.kind === Kind.unallocated) continue
    const length = alignUp(run.bytes, grainSize)
    await extent.allocating.run(at, length, true, () =>
      extent.lock.run(() =>
        setEntries(
          extent,
          Math.floor(at / coverage),
          (at % coverage) / grainSize,
          length / grainSize,
          () => 0,
        ),
      ),
    )
  }
}
