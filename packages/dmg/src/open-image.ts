/** Opens dmg images. */
import {
  type BlockChild,
  BlockError,
  type NodeOps,
  type OpenContext,
  SECTOR,
  tailStart,
} from '@vmblock/block-core/driver'
import { readOnlyReopen, requireReadOnly } from '@vmblock/block-core/late'
import { sortedChunks } from './format/chunk-map.ts'
import { type Chunk, readTable } from './format/chunks.ts'
import { dataIn } from './format/property-list.ts'
import { resourcesIn } from './format/resource-fork.ts'
import {
  checkTables,
  findTrailer,
  isEncrypted,
  parseTrailer,
  TRAILER_BYTES,
  type Trailer,
} from './format/trailer.ts'
import { Image } from './image.ts'
import { read, statusAt } from './read.ts'

/**
 * Opens an image.
 *
 * @throws BlockError in QEMU's words where it has some; ENOTSUP for encrypted images, and those in several files; EACCES
 *   for writing
 */
export async function openImage(context: OpenContext<unknown>): Promise<NodeOps> {
  requireReadOnly(context)
  const file = await context.requireChild('file')
  const trailer = await readTrailer(file)
  const chunks = sortedChunks(await readChunks(file, trailer))
  const last = chunks.at(-1)
  // Some writers leave the size out: QEMU shows an empty disk.
  const size = trailer.sectors > 0 ? trailer.sectors * SECTOR : last ? last.start + last.bytes : 0
  const image = new Image({ nodeName: context.nodeName, file, size, chunks })
  return {
    size: () => image.size,
    read: (offset, into) => read(image, offset, into),
    blockStatus: async (offset, bytes) => statusAt(image, offset, bytes),
    prepareReopen: readOnlyReopen,
    close: async () => image.drop(),
    crash: () => image.drop(),
  }
}

async function readTrailer(file: BlockChild): Promise<Trailer> {
  const head = new Uint8Array(Math.min(SECTOR, file.size))
  if (head.length > 0) await file.read(0, head)
  const start = tailStart(file.size)
  const tail = new Uint8Array(file.size - start)
  if (tail.length > 0) await file.read(start, tail)
  if (isEncrypted(head, tail))
    throw new BlockError('ENOTSUP', 'The dmg image is encrypted, and encrypted dmg images are not supported')
  if (file.size < TRAILER_BYTES) throw new BlockError('EINVAL', 'dmg file must be at least 512 bytes long')
  const at = findTrailer(tail, true)
  if (at === undefined) throw new BlockError('EINVAL', 'Could not locate UDIF trailer in dmg file')
  const bytes = new Uint8Array(TRAILER_BYTES)
  bytes.set(tail.subarray(at, at + TRAILER_BYTES))
  return parseTrailer(bytes, start + at)
}

async function readChunks(file: BlockChild, { tables, dataForkOffset }: Trailer): Promise<readonly Chunk[]> {
  checkTables(tables)
  const bytes = new Uint8Array(tables.length)
  await file.read(tables.offset, bytes)
  const chunks: Chunk[] = []
  const found = tables.kind === 'resource fork' ? resourcesIn(bytes) : dataIn(bytes)
  for (const table of found) readTable(table, dataForkOffset, chunks)
  return chunks
}
