/** A guest flush: writes metadata in order, flushes the file, and frees what was unlinked before. */

import type { Image } from '../image/image.ts'
import { writeCaches } from '../image/write-order.ts'
import { applyFrees } from '../refcounts/allocate.ts'
import { releaseReserved } from '../refcounts/take-ahead.ts'

/** Makes all writes durable that completed before the call. The lock is not held during the final flush. */
export async function flushImage(image: Image): Promise<void> {
  const announced = image.file.debugEvent('flush_to_os')
  if (announced) await announced
  const freed = await image.lock.run(async () => {
    const taken = image.frees.take()
    try {
      await image.roots.rewriteUnsure()
      await writeCaches(image)
    } catch (error) {
      image.frees.putBack(taken)
      throw error
    }
    return taken
  })
  try {
    if (image.hasDataFile) await image.store.flush()
    await image.flushFile()
  } catch (error) {
    image.frees.putBack(freed)
    throw error
  }
  image.frees.becameDurable(freed)
  if (!image.frees.isEmpty) await image.lock.run(() => applyFrees(image))
}

/**
 * Brings everything to disk, including refcounts of freed or reserved clusters. No request may be in flight.
 */
export async function quiesceImage(image: Image): Promise<void> {
  await flushImage(image)
  await image.lock.run(async () => {
    await applyFrees(image)
    await releaseReserved(image)
    await image.refblocks.writeBack()
  })
  await image.flushFile()
  await image.fileLength.complete()
}
