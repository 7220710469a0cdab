/** Creates VDI images. */
import {
  alignUp,
  BlockError,
  bool,
  type CreateContext,
  type Creation,
  divUp,
  type OptionValues,
  SECTOR,
  size,
  viewOf,
} from '@vmblock/block-core/driver'
import {
  BLOCK_SIZE,
  HEADER_BYTES,
  type Header,
  MAX_BLOCKS,
  NEVER_WRITTEN,
  newHeader,
  tooLarge,
} from './format/header.ts'

/** With the texts of QEMU. */
const options = {
  size: size('Virtual disk size'),
  static: bool('VDI static (pre-allocated) image', false),
}

type CreateOptions = OptionValues<typeof options>

const ENTRY = 4
/** The map is written in pieces of so many bytes. */
const PIECE = 2 ** 20

/** @throws BlockError EINVAL, ENOTSUP in QEMU's words */
function headerFor(given: CreateOptions): Header {
  if (given.size === undefined) throw new BlockError('EINVAL', 'Image creation needs a size parameter')
  const diskSize = alignUp(given.size, SECTOR)
  if (diskSize > MAX_BLOCKS * BLOCK_SIZE) throw tooLarge(diskSize, MAX_BLOCKS * BLOCK_SIZE)
  const blocks = divUp(diskSize, BLOCK_SIZE)
  return {
    mapOffset: HEADER_BYTES,
    dataOffset: HEADER_BYTES + alignUp(blocks * ENTRY, SECTOR),
    diskSize,
    blockSize: BLOCK_SIZE,
    blocks,
    allocatedBlocks: given.static ? blocks : 0,
    isFixed: given.static,
  }
}

/**
 * Formats `file`: the map, and the header last, so that an interrupted creation leaves no image.
 *
 * @throws BlockError errors of the file
 */
export async function writeImage(file: CreateContext<unknown>['file'], header: Header): Promise<void> {
  const { mapOffset, dataOffset, blockSize, blocks, isFixed } = header
  await file.truncate(0, { exact: true })
  for (let at = mapOffset; at < dataOffset; at += PIECE) {
    const bytes = new Uint8Array(Math.min(PIECE, dataOffset - at))
    const view = viewOf(bytes)
    const first = (at - mapOffset) / ENTRY
    for (let block = first; block < Math.min(blocks, first + bytes.length / ENTRY); block++)
      view.setUint32((block - first) * ENTRY, isFixed ? block : NEVER_WRITTEN, true)
    await file.write(at, bytes)
  }
  if (isFixed) await file.truncate(dataOffset + blocks * blockSize)
  await file.write(0, newHeader(header))
  await file.flush()
}

/** The making of VDI images. */
export const vdiCreation: Creation<typeof options> = {
  options,
  check: async (given) => void headerFor(given),
  // As QEMU does, but for the random ids.
  create: ({ file, options: given }) => writeImage(file, headerFor(given)),
}
