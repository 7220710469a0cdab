/** Opens cloop images, and reads their blocks. */
import {
  BlockError,
  type BlockStatus,
  inParts,
  loadOnce,
  messageOf,
  type NodeOps,
  type OpenContext,
} from '@vmblock/block-core/driver'
import { DecodedCache, readOnlyReopen, requireReadOnly } from '@vmblock/block-core/late'
import { loadZlib } from '@vmblock/compression'
import { ENTRY, NUMBERS, NUMBERS_AT, parseNumbers, TABLE_AT } from './format/header.ts'
import { parseOffsets } from './format/offsets.ts'

const zlib = loadOnce('decompressing cloop images', loadZlib)

/**
 * Opens an image.
 *
 * @throws BlockError in QEMU's words; EACCES for writing
 */
export async function openImage(context: OpenContext<unknown>): Promise<NodeOps> {
  requireReadOnly(context)
  const file = await context.requireChild('file')
  const numbers = new Uint8Array(NUMBERS.size)
  await file.read(NUMBERS_AT, numbers)
  const { blockSize, blocks } = parseNumbers(numbers, file.size)
  const table = new Uint8Array((blocks + 1) * ENTRY)
  await file.read(TABLE_AT, table)
  const offsets = parseOffsets(table)
  const cache = new DecodedCache()

  async function decode(index: number): Promise<Uint8Array> {
    const offset = offsets[index]!
    const end = offsets[index + 1]!
    const detail = { node: context.nodeName, offset: index * blockSize }
    const broken = (why: string, cause?: unknown): BlockError =>
      new BlockError('EIO', `Block ${index} of the cloop image cannot be read: ${why}`, { ...detail, cause })
    if (end > file.size) throw broken(`it ends at ${end}, behind the end of the file`)
    const { decompress } = await zlib()
    const data = new Uint8Array(end - offset)
    await file.read(offset, data)
    try {
      return await decompress(data, blockSize)
    } catch (error) {
      throw broken(messageOf(error), error)
    }
  }

  return {
    size: () => blocks * blockSize,
    read: (offset, into) =>
      inParts(into.length, async (done, parts) => {
        const index = Math.floor((offset + done) / blockSize)
        const within = offset + done - index * blockSize
        const bytes = Math.min(blockSize - within, into.length - done)
        await parts.add(async () => {
          const block = await cache.get(index, blockSize, () => decode(index))
          into.set(block.subarray(within, within + bytes), done)
        })
        return bytes
      }),
    blockStatus: async (_, bytes): Promise<BlockStatus> => ({
      bytes,
      allocated: true,
      data: true,
      zero: false,
      compressed: true,
    }),
    info: async () => ({ clusterSize: blockSize, compressed: true }),
    prepareReopen: readOnlyReopen,
    close: async () => cache.drop(),
    crash: () => cache.drop(),
  }
}
