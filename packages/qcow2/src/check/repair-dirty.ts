/** The repair of an image that was found dirty, before it is written. */
import { BlockError } from '@vmblock/block-core'
import type { Image } from '../image/image.ts'
import { checkImage } from './check.ts'

/** Repairs the image. @throws BlockError EIO if that fails: then it stays dirty, and is not written */
export async function repairDirty(image: Image): Promise<void> {
  const { events } = image
  let cause: unknown
  try {
    const report = await checkImage(image, { repair: 'all', report: (line) => events.warn(line) })
    events.repair(report)
    if (report.checkErrors === 0 && !image.dirtyBit.isSet) return
  } catch (error) {
    cause = error
  }
  image.writable = false
  throw new BlockError('EIO', 'Could not repair dirty image: Input/output error', {
    node: image.settings.nodeName,
    cause,
  })
}
