/** Changes to the header alone: the size of the disk, and the backing file's name and format. */
import {
  alignUp,
  BlockError,
  type BlockErrorCode,
  messageOf,
  type TruncateOptions,
} from '@vmblock/block-core/driver'
import { Feature, HEADER, HEADER_BYTES, isImageSize } from './format/header.ts'
import type { Image } from './image.ts'
import { readsAsZero } from './read.ts'
import { write, zeroClusters } from './write.ts'

const fail = (image: Image, code: BlockErrorCode, message: string): BlockError =>
  new BlockError(code, message, { node: image.nodeName })

/**
 * Makes the disk larger.
 *
 * @throws BlockError ENOTSUP, EINVAL in QEMU's words (block/qed.c, bdrv_qed_co_truncate)
 */
export async function truncate(
  image: Image,
  size: number,
  { preallocation = 'off', zero = false }: TruncateOptions,
): Promise<void> {
  const { clusterSize, tableSize } = image.header
  if (preallocation !== 'off')
    throw fail(image, 'ENOTSUP', `Unsupported preallocation mode '${preallocation}'`)
  if (!isImageSize(size, clusterSize, tableSize)) throw fail(image, 'EINVAL', 'Invalid image size specified')
  const before = image.size
  if (size < before) throw fail(image, 'ENOTSUP', 'Shrinking images is currently not supported')
  // The tables have their full length already, so the new range can be zeroed before it is visible.
  if (zero && image.backing && size > before) await zeroGrown(image, before, size)
  await image.flush()
  try {
    await image.lock.run(() => image.writeHeader({ ...image.header, imageSize: size }))
  } catch (error) {
    throw fail(image, 'EIO', `Failed to update the image size: ${messageOf(error)}`)
  }
  await image.flushFile()
}

/** Zeroes the new range: the backing file may have data there. */
async function zeroGrown(image: Image, before: number, size: number): Promise<void> {
  const start = alignUp(before, image.clusterSize)
  const tail = Math.min(start, size) - before
  if (tail > 0 && !(await readsAsZero(image, before, tail))) await write(image, before, new Uint8Array(tail))
  if (start < size) await zeroClusters(image, start, alignUp(size, image.clusterSize) - start)
}

/**
 * Rewrites the backing file's name and format. Of the format, QED stores only whether it is raw.
 *
 * @throws BlockError ENOTSUP if an unknown feature may use the space of the name, ENOSPC if it does not fit
 */
export async function changeBackingFile(
  image: Image,
  filename: string | null,
  format: string | undefined,
): Promise<void> {
  const { header } = image
  const name = new TextEncoder().encode(filename ?? '')
  const hasBacking = name.length > 0
  if (hasBacking && header.compatFeatures !== 0n)
    throw fail(image, 'ENOTSUP', 'the image has features that may use the space behind the header')
  if (HEADER_BYTES + name.length > header.headerSize * header.clusterSize)
    throw fail(image, 'ENOSPC', 'the name of the backing file does not fit into the header')
  const changed = {
    ...header,
    features:
      (header.features & ~(Feature.backingFile | Feature.backingIsRaw)) |
      (hasBacking ? Feature.backingFile : 0n) |
      (hasBacking && format === 'raw' ? Feature.backingIsRaw : 0n),
    backingNameOffset: HEADER_BYTES,
    backingNameSize: name.length,
  }
  const bytes = new Uint8Array(HEADER_BYTES + name.length)
  HEADER.write(bytes, changed)
  bytes.set(name, HEADER_BYTES)
  await image.lock.run(async () => {
    await image.file.write(0, bytes)
    image.header = changed
    image.backingName = hasBacking ? (filename ?? undefined) : undefined
    await image.flushFile()
  })
}
