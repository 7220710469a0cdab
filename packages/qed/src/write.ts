/**
 * Writes guest data: in place if there is a cluster, else append - write - link. The link comes last, so a
 * crash before it leaks clusters and loses nothing.
 */
import { alignDown, alignUp, inParts, type NewClusters, writeWithCopies } from '@vmblock/block-core/driver'
import {
  countEntries,
  link,
  makeRoom,
  type Reserved,
  relieve,
  reserve,
  setEntries,
  writablePosition,
} from './allocate.ts'
import type { Image } from './image.ts'
import {
  isMissing,
  Kind,
  loadRun,
  peekRun,
  type Run,
  sliceAt,
  sliceCoverage,
  ZERO_CLUSTER,
} from './lookup.ts'
import { read, readsAsZero } from './read.ts'

/** Writes `from` at guest `offset`. */
export async function write(image: Image, offset: number, from: Uint8Array): Promise<void> {
  const first = peekRun(image, offset, from.length)
  if (!isMissing(first) && first.kind === Kind.data && first.bytes === from.length)
    return writeInPlace(image, first, from)
  await inParts(from.length, async (done, parts) => {
    const run = await loadRun(image, offset + done, from.length - done)
    if (run.kind !== Kind.data) return writeNew(image, offset + done, from.subarray(done))
    await parts.add(() => writeInPlace(image, run, from.subarray(done, done + run.bytes)))
    return run.bytes
  })
}

async function writeInPlace(image: Image, run: Run, from: Uint8Array): Promise<void> {
  const announced = image.file.debugEvent('write_aio')
  if (announced) await announced
  await image.file.write(run.hostOffset, from)
}

/**
 * Writes the first part of `from`, for which clusters have to be allocated.
 *
 * @returns how many bytes were written: up to the first allocated cluster
 */
function writeNew(image: Image, offset: number, from: Uint8Array): Promise<number> {
  const { clusterSize } = image
  const coverage = sliceCoverage(image)
  const bytes = Math.min(from.length, coverage - (offset % coverage))
  const start = alignDown(offset, clusterSize)
  const length = alignUp(offset + bytes, clusterSize) - start
  // Other requests that allocate or zero in these clusters wait, and then look again.
  return image.allocating.run(start, length, true, async () => {
    await makeRoom(image)
    const reserved = await image.lock.run(() => reserve(image, start, length / clusterSize))
    if (!reserved) return 0 // another request allocated it meanwhile: it can be written in place now
    const size = reserved.clusters * clusterSize
    const part = from.subarray(0, Math.min(bytes, start + size - offset))
    try {
      await writeWithCopies(newClusters(image, start, size, reserved), offset, part)
      await image.lock.run(() => link(image, reserved))
    } catch (error) {
      await image.lock.run(() => image.release(reserved.hostOffset, size))
      throw error
    }
    await relieve(image)
    return part.length
  })
}

/** Describes clusters that are written whole, zeroes included: the file's end tells which ones exist. */
const newClusters = (image: Image, start: number, bytes: number, { hostOffset }: Reserved): NewClusters => ({
  data: image.file,
  announceTo: image.file,
  start,
  end: start + bytes,
  hostOffset,
  zeroed: false,
  readsAsZero: (at, length) => readsAsZero(image, at, length),
  readOld: (at, into) => read(image, at, into),
})

/**
 * Zeroes guest bytes [offset, offset + bytes), whole clusters. Unallocated ones get an entry that says so;
 * allocated ones are zeroed in place, because a freed cluster could never be reused.
 */
export async function zeroClusters(image: Image, offset: number, bytes: number): Promise<void> {
  await inParts(bytes, async (done, parts) => {
    const run = await loadRun(image, offset + done, bytes - done)
    if (run.kind === Kind.unallocated) return zeroUnallocated(image, offset + done, run.bytes)
    if (run.kind === Kind.data) await parts.add(() => image.file.writeZeroes(run.hostOffset, run.bytes))
    return run.bytes
  })
}

/** @returns how many bytes were zeroed: up to the first cluster that is no longer unallocated */
function zeroUnallocated(image: Image, offset: number, bytes: number): Promise<number> {
  const { clusterSize } = image
  return image.allocating.run(offset, bytes, true, async () => {
    await makeRoom(image)
    const count = await image.lock.run(async () => {
      const position = await writablePosition(image, offset)
      const table = await sliceAt(image.l2Tables, position.slice)
      const unallocated = countEntries(
        image,
        table,
        position.index,
        bytes / clusterSize,
        (kind) => kind === Kind.unallocated,
      )
      if (unallocated > 0) await setEntries(image, position, unallocated, () => ZERO_CLUSTER)
      return unallocated
    })
    await relieve(image)
    return count * clusterSize
  })
}
