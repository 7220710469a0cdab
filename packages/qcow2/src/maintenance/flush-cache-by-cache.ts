/** The second attempt to bring the tables to disk at close: it tells for each cache what could not be written. */
import { BlockError, isBlockError } from '@vmblock/block-core/driver'
import { errorText } from '@vmblock/block-core/late'
import type { Image } from '../image/image.ts'
import { writeCaches } from '../image/write-order.ts'

/**
 * Writes and flushes the L2 tables, then the refcounts. A failure of the first does not keep the second from being
 * tried, as in QEMU: what can be saved is saved.
 *
 * @param first the error of the first attempt, which is the `cause` if this one fails, too
 * @throws BlockError with the code of the last failure, and a line in its message for each cache, in QEMU's words
 */
export async function flushCacheByCache(image: Image, first: unknown): Promise<void> {
  const lost: string[] = []
  let failure: unknown
  const attempt = async (cache: string, write: () => Promise<void>): Promise<void> => {
    try {
      await image.lock.run(write)
      await image.flushFile()
    } catch (error) {
      failure = error
      lost.push(`Failed to flush the ${cache} cache: ${errorText(error)}`)
    }
  }
  await attempt('L2 table', () => writeCaches(image))
  await attempt('refcount block', () => image.refblocks.writeBack())
  if (failure === undefined) return
  throw new BlockError(isBlockError(failure) ? failure.code : 'EIO', lost.join('\n'), {
    node: image.settings.nodeName,
    cause: first,
  })
}
