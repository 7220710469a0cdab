/**
 * The frame of every change to the snapshots, and its order. `->` is a flush of the file in between.
 *
 *     create   L1 copy, new table, refcounts +1  ->  no COPIED in the L2 tables  ->  none in L1  ->  header: table
 *     apply    new L1 table, refcounts +1  ->  no COPIED in the L2 tables  ->  header: size, L1  ->  refcounts of the old
 *              content -1  ->  COPIED
 *     delete   new table  ->  header: table  ->  refcounts -1  ->  COPIED
 *
 * One write of the header switches from the old state to the new one, and lies in one sector. Until then, what the new state
 * needs is counted in addition; afterwards, what only the old one needed is given back. So a crash leaves the old state or the
 * new one, and leaks. Flags and refcounts cannot change in one write, though: meanwhile a cluster may have COPIED and a
 * refcount of 2, with one true reference. That harms nothing, but a check calls it an error; so the dirty bit, which version 3
 * has, stands over the whole change, and the next open for writing repairs the flags and the leaks.
 */
import { errorText } from '@vmblock/block-core/late'
import type { HeaderFields } from '../format/header-layout.ts'
import type { Image } from '../image/image.ts'
import { beforeActivate } from '../image/write-order.ts'
import { releaseReserved } from '../refcounts/take-ahead.ts'
import { quiesceImage } from '../requests/flush.ts'

/**
 * Runs a change to the snapshots. Before it, everything is brought to disk; afterwards, the image is clean again. Holds the
 * image's lock; no request may be in flight.
 *
 * @throws the error of the body: then everything is as before; the error of the file
 */
export async function changing<T>(image: Image, body: () => Promise<T>): Promise<T> {
  await quiesceImage(image)
  return image.lock.run(async () => {
    if (image.header.version >= 3) await image.dirtyBit.set()
    try {
      return await body()
    } finally {
      await settle(image).catch((error: unknown) => {
        // The change itself is durable, or undone. The next flush writes what is left, and the shutdown clears the bit.
        image.events.warn(`qcow2: refcounts could not be brought to disk: ${errorText(error)}`)
      })
    }
  })
}

/** Brings refcounts to disk, and marks the image clean. */
async function settle(image: Image): Promise<void> {
  await releaseReserved(image)
  await image.refblocks.writeBack()
  await image.flushFile()
  await image.fileLength.complete()
  await image.dirtyBit.clear()
}

/** Flags or refcounts could not be put right: from now on, only a repair clears the dirty bit, if there is one. */
export function leaveForRepair(image: Image): void {
  if (image.dirtyBit.isSet) image.dirtyBit.needsRepair = true
}

/** Makes durable what was written and counted so far. @throws the error of the file */
export const makeDurable: (image: Image) => Promise<void> = beforeActivate

/**
 * Switches to the new state.
 *
 * @throws the error of the file: then the disk has the old state, and it can be undone what was done for the new one. If the
 *   disk may have either, `mayHaveSwitched` is true in the error
 */
export async function switchHeader(image: Image, fields: HeaderFields): Promise<void> {
  const announced = image.file.debugEvent('l1_update')
  if (announced) await announced
  try {
    await image.headerWriter.change(fields)
  } catch (error) {
    const isOld = await restoreHeader(image)
    throw isOld ? error : new UnsureHeader(error)
  }
}

/** Writes the old header again. @returns whether the disk is sure to have it */
async function restoreHeader(image: Image): Promise<boolean> {
  try {
    await image.roots.rewriteUnsure()
    await image.flushFile()
    return true
  } catch {
    return false
  }
}

/** The disk may have the old header or the new one: nothing that either needs may be given back. */
export class UnsureHeader extends Error {
  override readonly cause: unknown

  constructor(cause: unknown) {
    super('the header may have been switched')
    this.cause = cause
  }
}

/**
 * Runs the steps up to and with {@link switchHeader}; if one fails, `undo` takes back what they did, unless the header is
 * unsure: then all of it stays, as leaks, until a repair.
 *
 * @throws the error of the step
 */
export async function undoing(
  image: Image,
  steps: (undo: (step: () => Promise<unknown>) => void) => Promise<void>,
): Promise<void> {
  const undo: (() => Promise<unknown>)[] = []
  try {
    await steps((step) => undo.unshift(step))
  } catch (error) {
    if (error instanceof UnsureHeader) {
      leaveForRepair(image)
      throw error.cause
    }
    for (const step of undo) await step().catch(() => leaveForRepair(image))
    throw error
  }
}
