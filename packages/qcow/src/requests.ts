/** What every opening needs, as one file that is loaded with the first. */
import { BlockError } from '@vmblock/block-core/driver'
import type { Image } from './image.ts'

export { openImage } from './open-image.ts'
export { blockStatus, read } from './read.ts'
export { write, writeCompressed, writeZeroes } from './write.ts'

/** Refuses a request to an image that was opened without its key. @throws BlockError EINVAL, in QEMU's words */
export async function refuseWithoutKey(image: Image): Promise<never> {
  throw new BlockError('EINVAL', "Parameter 'encrypt.key-secret' is required for cipher", {
    node: image.nodeName,
  })
}
