/** Changes the size of the disk. */
import {
  alignUp,
  BlockError,
  divUp,
  NO_BLOCK,
  SECTOR,
  type TruncateOptions,
  TWO_32,
  ZERO_BLOCK,
} from '@vmblock/block-core/driver'
import { MAX_BLOCKS, tooLarge } from './format/header.ts'
import { ENTRY, type Image } from './image.ts'
import { closeGaps, emptyFirstPlaces } from './move.ts'

/**
 * Makes the disk larger or smaller. Each step leaves a valid image: a power cut costs space at most.
 *
 * @throws BlockError ENOTSUP, EINVAL, EFBIG if that size is not possible; errors of the file
 */
export async function truncate(
  image: Image,
  size: number,
  { preallocation = 'off' }: TruncateOptions,
): Promise<void> {
  if (preallocation !== 'off')
    throw new BlockError('ENOTSUP', `Unsupported preallocation mode '${preallocation}'`)
  if (size % SECTOR !== 0)
    throw new BlockError('EINVAL', `The size of a VDI image is a multiple of ${SECTOR}`)
  const { blockSize } = image.header
  if (size > MAX_BLOCKS * blockSize) throw tooLarge(size, MAX_BLOCKS * blockSize)
  await image.map.flush()
  if (size > image.size) await grow(image, size)
  else if (size < image.size) await shrink(image, size)
}

async function grow(image: Image, size: number): Promise<void> {
  const { blockSize } = image.header
  const before = image.size
  const used = divUp(before, blockSize)
  const blocks = divUp(size, blockSize)
  // Blocks behind the end of the disk, which a crash or another program left, must not come into sight.
  await giveUp(image, used)
  await zeroTail(image, before)
  await makeRoom(image, blocks)
  if (blocks > image.header.blocks) {
    const longer = new Float64Array(blocks)
    longer.set(image.offsets)
    image.offsets = longer
  }
  const first = image.header.isFixed ? used : Math.min(image.header.blocks, blocks)
  if (image.header.isFixed) await fillBlocks(image, used, blocks)
  // The map is longer than the header says: what is written there is not yet part of it.
  await image.writeEntries(first, blocks - first)
  await image.file.flush()
  await image.writeHeader({ diskSize: size, blocks: Math.max(blocks, image.header.blocks) })
}

/** Gives up the blocks from `first` on, durably. */
async function giveUp(image: Image, first: number): Promise<void> {
  const places: number[] = []
  for (let block = first; block < image.offsets.length; block++) {
    const offset = image.offsets[block]!
    if (offset > ZERO_BLOCK) places.push(image.placeOf(offset))
    if (offset !== NO_BLOCK) image.map.link(block, NO_BLOCK)
  }
  await image.map.flush()
  for (const place of places) image.places.free(place)
}

/** Zeroes what the last block holds behind the end of the disk. Programs leave zeroes there, but nothing says so. */
async function zeroTail(image: Image, end: number): Promise<void> {
  const { blockSize } = image.header
  const within = end % blockSize
  const offset = image.offsets[Math.floor(end / blockSize)] ?? NO_BLOCK
  if (within === 0 || offset <= ZERO_BLOCK) return
  const bytes = Math.min(blockSize - within, image.file.size - offset - within)
  if (bytes > 0) await image.file.writeZeroes(offset + within, bytes)
  await image.file.flush()
}

/** Gives each new block of a fixed image a place, which the header counts durably. */
async function fillBlocks(image: Image, first: number, end: number): Promise<void> {
  const { file, header } = image
  for (let block = first; block < end; block++) {
    const offset = image.offsetOf(image.places.take())
    const stale = Math.min(header.blockSize, file.size - offset)
    if (stale > 0) await file.writeZeroes(offset, stale, { mayUnmap: true })
    image.offsets[block] = offset
  }
  const last = image.offsetOf(image.places.end)
  if (file.size < last) await file.truncate(last)
  await image.writeHeader({ allocatedBlocks: image.places.end })
}

/**
 * Moves the map, if it has no room for so many entries: to where the data area begins, which then begins later. The blocks
 * that lie there move to its end before.
 */
async function makeRoom(image: Image, blocks: number): Promise<void> {
  const { mapOffset, dataOffset, blockSize } = image.header
  if (mapOffset + blocks * ENTRY <= dataOffset) return
  const lost = divUp(alignUp(blocks * ENTRY, SECTOR), blockSize)
  const moved = { ...image.header, mapOffset: dataOffset, dataOffset: dataOffset + lost * blockSize }
  if (moved.dataOffset >= TWO_32)
    throw new BlockError('EFBIG', 'the block map would reach beyond the first 4 GiB of the file')
  await emptyFirstPlaces(image, lost)
  await image.writeEntries(0, blocks, moved)
  await image.file.flush()
  await image.writeHeader({ ...moved, allocatedBlocks: Math.max(image.places.end - lost, 0) })
  image.becomeWritable()
}

async function shrink(image: Image, size: number): Promise<void> {
  const blocks = divUp(size, image.header.blockSize)
  await image.writeHeader({ diskSize: size })
  await giveUp(image, blocks)
  await closeGaps(image)
  await image.writeHeader({ blocks })
  image.offsets = image.offsets.slice(0, blocks)
}
