/** Drops everything that an image holds, so that the backing file shows through. */
import type { Image } from './image.ts'

/**
 * Empties the L1 table, durably, and cuts off the rest of the file. Called with no request in flight.
 *
 * @throws the error of the file
 */
export async function makeEmpty(image: Image): Promise<void> {
  const { file, header } = image
  const { l1TableOffset, l1Bytes } = header
  await image.lock.run(async () => {
    // What is in the caches is not needed any more.
    image.drop()
    await file.writeZeroes(l1TableOffset, l1Bytes)
    // Until that is durable, entries may point at what is cut off.
    await image.flushFile()
    const end = image.firstFree
    if (file.size > end) await file.truncate(end, { exact: false })
    image.becomeEmpty()
  })
}
