/** A guest flush: metadata written in order, the host flushed, and what was unlinked before becomes free. */

import type { Image } from '../image/image.ts'
import { writeCaches } from '../image/write-order.ts'
import { applyFrees } from '../refcounts/allocate.ts'
import { releaseReserved } from '../refcounts/take-ahead.ts'

/** Makes everything durable whose write completed before the call. The lock is not held over the final flush. */
export async function flushImage(image: Image): Promise<void> {
  const announced = image.file.debugEvent('flush_to_os')
  if (announced) await announced
  const freed = await image.lock.run(async () => {
    const taken = image.frees.take()
    try {
      await image.settleRoots()
      await writeCaches(image)
    } catch (error) {
      image.frees.putBack(taken)
      throw error
    }
    return taken
  })
  try {
    if (image.hasDataFile) await image.data.flush()
    await image.flushFile()
  } catch (error) {
    image.frees.putBack(freed)
    throw error
  }
  image.frees.becameDurable(freed)
  if (!image.frees.isEmpty) await image.lock.run(() => applyFrees(image))
}

/** Everything on disk, refcounts of what was freed or reserved included. Called with no request in flight. */
export async function settleImage(image: Image): Promise<void> {
  await flushImage(image)
  await image.lock.run(async () => {
    await applyFrees(image)
    await releaseReserved(image)
    await image.refblocks.writeBack()
  })
  await image.flushFile()
  await image.completeFile()
}
