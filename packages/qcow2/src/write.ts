/**
 * Writing guest data: in place where the cluster is there and ours, else allocate - write - link. The link
 * comes last, so a crash before it leaks clusters and loses nothing.
 */
import { alignDown, alignUp, inParts } from '@vmblock/block-core'
import { writeReserved } from './cow.ts'
import { SubclusterKind } from './format/subclusters.ts'
import type { Image } from './image.ts'
import { abandon, link, relieve } from './link.ts'
import { isStillThere, loadRun, peekRun, type Run, sliceCoverage } from './lookup.ts'
import { type Reserved, reserve } from './reserve.ts'

/** Writes `from` at guest `offset`. */
export async function write(image: Image, offset: number, from: Uint8Array): Promise<void> {
  const epoch = image.requests.enter()
  try {
    const first = peekRun(image, offset, from.length, true)
    if (first && isInPlace(first) && first.bytes === from.length)
      await writeInPlace(image, first, image.unlinked, offset, from)
    else await writeRuns(image, offset, from)
  } finally {
    image.requests.leave(epoch)
  }
}

/** The clusters are allocated and refer to nothing else: overwriting them changes no metadata. */
const isInPlace = (run: Run): boolean => run.kind === SubclusterKind.normal && run.copied

async function writeRuns(image: Image, offset: number, from: Uint8Array): Promise<void> {
  await inParts(from.length, async (done, parts) => {
    const { unlinked } = image
    const run = await loadRun(image, offset + done, from.length - done, true)
    if (!isInPlace(run) || (await goesOn(image, run, offset + done, from.length - done))) {
      const written = await writeNew(image, offset + done, from.subarray(done))
      if (written > 0 || !isInPlace(run)) return written
    }
    const part = from.subarray(done, done + run.bytes)
    await parts.add(() => writeInPlace(image, run, unlinked, offset + done, part))
    return run.bytes
  })
}

/**
 * Whether clusters behind an in-place run lie behind it on the host, too, and only have to be marked as data:
 * then the whole is one request.
 */
async function goesOn(image: Image, run: Run, offset: number, bytes: number): Promise<boolean> {
  if (run.bytes >= bytes) return false
  const next = await loadRun(image, offset + run.bytes, bytes - run.bytes, true)
  return next.copied && next.hostOffset === run.hostOffset + run.bytes
}

/** Fails where the allocator gave away what is not free. */
function guardReserved(image: Image, { hostOffset, clusters }: Reserved): Promise<void> | undefined {
  if (image.hasDataFile) return undefined
  return image.overlaps.guard(hostOffset, clusters * image.geometry.clusterSize)
}

/** @param unlinked what it was before the run was looked up */
async function writeInPlace(
  image: Image,
  run: Run,
  unlinked: number,
  offset: number,
  from: Uint8Array,
): Promise<void> {
  if (image.isDataFileRaw) return writeInRaw(image, run.hostOffset, from)
  const refused = image.hasDataFile ? undefined : image.overlaps.guard(run.hostOffset, from.length)
  if (refused) await refused
  const announced = image.file.debugEvent('write_aio')
  if (announced) await announced
  await image.data.write(run.hostOffset, from)
  // If the range was given up meanwhile, the write is over; unless somebody else is filling the same cluster, who
  // may bring it back: then it is over when he is done.
  if (image.unlinked !== unlinked && !(await isStillThere(image, run, offset, true)))
    await image.allocating.run(offset, from.length, false, async () => undefined)
}

/**
 * Writes in place in a raw data file, where a guest offset is the host's. Who zeroes there writes zeroes first, and
 * changes the table then: a write that came in between would be lost.
 */
async function writeInRaw(image: Image, offset: number, from: Uint8Array): Promise<void> {
  const isWritten = await image.allocating.run(offset, from.length, false, async () => {
    const run = await loadRun(image, offset, from.length, true)
    if (!isInPlace(run) || run.bytes < from.length) return false
    const announced = image.file.debugEvent('write_aio')
    if (announced) await announced
    await image.data.write(offset, from)
    return true
  })
  if (!isWritten) await writeRuns(image, offset, from)
}

/**
 * Writes the first part of `from` where clusters have to be allocated.
 *
 * @returns how many bytes were written: up to the first cluster that needs another treatment
 */
async function writeNew(image: Image, offset: number, from: Uint8Array): Promise<number> {
  const { clusterSize } = image.geometry
  const coverage = sliceCoverage(image)
  const bytes = Math.min(from.length, coverage - (offset % coverage))
  const start = alignDown(offset, clusterSize)
  // Whoever else wants to allocate, zero or discard in these clusters waits, and then looks again.
  return image.allocating.run(start, alignUp(offset + bytes, clusterSize) - start, true, async () => {
    const reserved = await image.lock.run(() => reserve(image, offset, bytes))
    if (!reserved) return 0 // meanwhile somebody allocated it: it can be written in place now
    try {
      await guardReserved(image, reserved)
      const copied = await writeReserved(image, reserved, from.subarray(0, reserved.bytes))
      // Meanwhile another request may have found the image corrupt.
      await guardReserved(image, reserved)
      await image.lock.run(() => link(image, reserved, copied))
    } catch (error) {
      // A release that fails as well leaves a leak, and the first error is the one to tell.
      await abandon(image, reserved).catch(() => undefined)
      throw error
    }
    await relieve(image)
    return reserved.bytes
  })
}
