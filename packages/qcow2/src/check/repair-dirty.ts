/** The repair of an image that was found dirty, before it is written. */
import { BlockError, type CheckFinding, UNCONTROLLED } from '@vmblock/block-core/driver'
import type { Image } from '../image/image.ts'
import { checkImage } from './check.ts'

/** Repairs the image. @throws BlockError EIO if that fails: then it stays dirty, and is not written */
export async function repairDirty(image: Image): Promise<void> {
  const { events } = image
  let cause: unknown
  try {
    const options = { repair: 'all', report: ({ message }: CheckFinding) => events.warn(message) } as const
    const report = await checkImage(image, options, UNCONTROLLED)
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
