/**
 * Writes guest data: in place if the clusters are allocated and not shared, else allocate - write - link. The
 * link comes last, so a crash before it leaks clusters and loses nothing.
 */
import { alignDown, alignUp, type HeldRange, inParts } from '@vmblock/block-core/driver'
import { SubclusterKind } from '../format/subclusters.ts'
import type { Image } from '../image/image.ts'
import { isStillThere, loadRun, peekRun, type Run } from '../mapping/lookup.ts'
import { sliceCoverage } from '../mapping/slices.ts'
import { fillsFresh, writeReserved } from './cow.ts'
import { abandon, link } from './link.ts'
import { type Reserved, reserve } from './reserve.ts'
import {
  hasFullCache,
  isCrammed,
  isForWantOfRoom,
  makeRoom,
  makeRoomInCaches,
  relieve,
  rescue,
} from './room.ts'

/**
 * Writes `from` at guest `offset`.
 *
 * @param tries how many times this request found no room before (try-again.ts)
 */
export async function write(image: Image, offset: number, from: Uint8Array, tries = 0): Promise<void> {
  const { released } = image.frees
  let failure: unknown
  if (isCrammed(image)) await makeRoomFor(image, offset, from.length)
  const first = peekRun(image, offset, from.length, true)
  const epoch = image.requests.enter()
  try {
    if (first && isInPlace(first) && first.bytes === from.length) {
      const remaps = image.remaps.count
      await writeInPlace(image, first, offset, from)
      if (image.remaps.since(remaps)) await waitForNewOwner(image, first, offset, from.length)
      return
    }
    // Most requests that allocate are one allocation.
    const isNew = first && !isInPlace(first) && first.kind !== SubclusterKind.invalid
    const written = isNew ? await writeNew(image, offset, from) : 0
    if (written < from.length) await writeRuns(image, offset, from, written)
    return
  } catch (error) {
    failure = error
  } finally {
    image.requests.leave(epoch)
  }
  if (!isForWantOfRoom(failure)) throw failure
  const code = await rescue(image, failure)
  await code.writeAgain(image, { error: failure, released, tries }, offset, from)
}

/** As {@link makeRoom}, for a write: an in-place one needs no room, and does not fail for lack of it. */
async function makeRoomFor(image: Image, offset: number, bytes: number): Promise<void> {
  const first = await loadRun(image, offset, bytes, true)
  if (!isInPlace(first) || first.bytes < bytes) await makeRoom(image)
}

/** The clusters are allocated and not shared: overwriting them changes no metadata. */
const isInPlace = (run: Run): boolean => run.kind === SubclusterKind.normal && run.copied

/** @param start bytes that are written already */
async function writeRuns(image: Image, offset: number, from: Uint8Array, start: number): Promise<void> {
  await inParts(from.length - start, async (done, parts) => {
    const at = start + done
    const remaps = image.remaps.count
    const run = await loadRun(image, offset + at, from.length - at, true)
    if (!isInPlace(run) || (await extendsContiguously(image, run, offset + at, from.length - at))) {
      const written = await writeNew(image, offset + at, from.subarray(at))
      if (written > 0 || !isInPlace(run)) return written
    }
    await parts.add(async () => {
      await writeInPlace(image, run, offset + at, from.subarray(at, at + run.bytes))
      if (image.remaps.since(remaps)) await waitForNewOwner(image, run, offset + at, run.bytes)
    })
    return run.bytes
  })
}

/**
 * Whether the clusters behind an in-place run follow it in the data file, too, and only have to be marked as
 * data: then all of it is written in one request.
 */
async function extendsContiguously(image: Image, run: Run, offset: number, bytes: number): Promise<boolean> {
  if (run.bytes >= bytes) return false
  const next = await loadRun(image, offset + run.bytes, bytes - run.bytes, true)
  return next.copied && next.hostOffset === run.hostOffset + run.bytes
}

/** Refuses the write if the allocator returned clusters that hold metadata. */
const guardReserved = (image: Image, { hostOffset, clusters }: Reserved): Promise<void> | undefined =>
  image.store.guard(hostOffset, clusters * image.geometry.clusterSize)

function writeInPlace(image: Image, run: Run, offset: number, from: Uint8Array): Promise<void> {
  const { store } = image
  if (store.holdsInPlaceWrites) return holdAndWrite(image, offset, from)
  const guarded = store.guard(run.hostOffset, from.length)
  if (guarded) return guarded.then(() => writeData(image, run.hostOffset, from, offset))
  return writeData(image, run.hostOffset, from, offset)
}

/**
 * Called when entries stopped showing their clusters during an in-place write. If this range is among them,
 * the write is complete, unless another write is filling the same cluster and may show it again: then this
 * one waits for that.
 */
async function waitForNewOwner(image: Image, run: Run, offset: number, bytes: number): Promise<void> {
  if (!(await isStillThere(image, run, offset, true)))
    await image.allocating.run(offset, bytes, false, async () => undefined)
}

/** Writes in place, and holds the guest range meanwhile ({@link ClusterStore.holdsInPlaceWrites}). */
async function holdAndWrite(image: Image, offset: number, from: Uint8Array): Promise<void> {
  const isWritten = await image.allocating.run(offset, from.length, false, async () => {
    const run = await loadRun(image, offset, from.length, true)
    if (!isInPlace(run) || run.bytes < from.length) return false
    await writeData(image, run.hostOffset, from, offset)
    return true
  })
  if (!isWritten) await writeRuns(image, offset, from, 0)
}

function writeData(image: Image, host: number, from: Uint8Array, offset: number): Promise<void> {
  const announced = image.file.debugEvent('write_aio')
  if (announced) return announced.then(() => image.store.write(host, from, offset))
  return image.store.write(host, from, offset)
}

/**
 * Writes the first part of `from`, for which clusters have to be allocated.
 *
 * @returns how many bytes were written: up to the first cluster that must be written in another way
 */
function writeNew(image: Image, offset: number, from: Uint8Array): Promise<number> {
  const { clusterSize } = image.geometry
  const coverage = sliceCoverage(image)
  const bytes = Math.min(from.length, coverage - (offset % coverage))
  const start = alignDown(offset, clusterSize)
  const length = alignUp(offset + bytes, clusterSize) - start
  // Other requests that allocate, zero or discard in these clusters wait, and then look again.
  const held = image.allocating.tryHold(start, length, true)
  if (!held) return image.allocating.whenReleased(start, length, true).then(() => 0)
  return allocateAndWrite(image, offset, from, bytes, held)
}

/** @param held the guest clusters, which are released at the end */
async function allocateAndWrite(
  image: Image,
  offset: number,
  from: Uint8Array,
  bytes: number,
  held: HeldRange,
): Promise<number> {
  /** Clusters that no entry points at yet. */
  let unlinked: Reserved | undefined
  try {
    if (hasFullCache(image)) await makeRoomInCaches(image)
    const reserving = image.lock.run(() => reserve(image, offset, bytes))
    const reserved = reserving instanceof Promise ? await reserving : reserving
    if (!reserved) return 0 // another request allocated it meanwhile: it can be written in place now
    unlinked = reserved
    const guarded = guardReserved(image, reserved)
    if (guarded) await guarded
    const data = reserved.bytes === from.length ? from : from.subarray(0, reserved.bytes)
    const isFresh = fillsFresh(image, reserved)
    const copied = isFresh ? false : await writeReserved(image, reserved, data)
    const host = reserved.hostOffset + (offset % image.geometry.clusterSize)
    if (isFresh) await writeData(image, host, data, offset)
    // Meanwhile another request may have found the image corrupt.
    const stillGuarded = guardReserved(image, reserved)
    if (stillGuarded) await stillGuarded
    const linking = image.lock.run(() => link(image, reserved, copied))
    if (linking) await linking
    unlinked = undefined
    const relieving = relieve(image)
    if (relieving) await relieving
    return reserved.bytes
  } catch (error) {
    // A release that fails as well leaves a leak; the first error is thrown.
    if (unlinked) await abandon(image, unlinked).catch(() => undefined)
    throw error
  } finally {
    image.allocating.release(held)
  }
}
