/** Between pieces the guest's requests run; then what they changed has to be on disk before tables are read from it. */
import { BlockError } from '@vmblock/block-core/driver'
import type { Image } from '../image/image.ts'
import { flushImage } from '../requests/flush.ts'

/**
 * Writes the caches back, if anything is in them alone. No request may be in flight.
 *
 * @throws BlockError EPERM if the image is no longer writable; the error of the file
 */
export async function settle(image: Image): Promise<void> {
  if (!image.writable)
    throw new BlockError('EPERM', 'the image is no longer open for writing', {
      node: image.settings.nodeName,
    })
  if (image.l2Tables.isDirty || image.hasNewTables || !image.frees.isEmpty) await flushImage(image)
}
