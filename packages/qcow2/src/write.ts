/**
 * Writing guest data: in place where the cluster is there and ours, else allocate - write - link. The link
 * comes last, so a crash before it leaks clusters and loses nothing.
 */
import { alignDown, alignUp, SubRequests } from '@vmblock/block-core'
import { writeWithCopies } from './cow.ts'
import { SubclusterKind } from './format/subclusters.ts'
import type { Image } from './image.ts'
import { abandon, link, relieve } from './link.ts'
import { loadRun, peekRun, type Run, sliceCoverage } from './lookup.ts'
import { reserve } from './reserve.ts'

/** Writes `from` at guest `offset`. */
export async function write(image: Image, offset: number, from: Uint8Array): Promise<void> {
  const epoch = image.requests.enter()
  try {
    const first = peekRun(image, offset, from.length, true)
    if (first && isInPlace(first) && first.bytes === from.length) await writeInPlace(image, first, from)
    else await writeRuns(image, offset, from)
  } finally {
    image.requests.leave(epoch)
  }
}

/** The clusters are allocated and refer to nothing else: overwriting them changes no metadata. */
const isInPlace = (run: Run): boolean => run.kind === SubclusterKind.normal && run.copied

async function writeRuns(image: Image, offset: number, from: Uint8Array): Promise<void> {
  const requests = new SubRequests()
  await requests.run(async () => {
    for (let done = 0; done < from.length && !requests.failed; ) {
      const at = offset + done
      const run = await loadRun(image, at, from.length - done, true)
      if (isInPlace(run)) {
        const part = from.subarray(done, done + run.bytes)
        await requests.add(() => writeInPlace(image, run, part))
        done += run.bytes
      } else {
        done += await writeNew(image, at, from.subarray(done))
      }
    }
  })
}

async function writeInPlace(image: Image, run: Run, from: Uint8Array): Promise<void> {
  const announced = image.data.debugEvent('write_aio')
  if (announced) await announced
  await image.data.write(run.hostOffset, from)
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
      const copied = await writeWithCopies(image, reserved, from.subarray(0, reserved.bytes))
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
