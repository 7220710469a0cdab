/** Creates VHDX images. */
import {
  alignUp,
  BlockError,
  type BlockNode,
  bool,
  type CreateContext,
  type Creation,
  isPowerOfTwo,
  type OptionValues,
  oneOf,
  SECTOR,
  size,
  viewOf,
} from '@vmblock/block-core/driver'
import { ENTRY_BYTES, encodeEntry, entryOfBlock, type Geometry, geometryOf, State } from './format/bat.ts'
import { NO_GUID, randomGuid } from './format/guid.ts'
import { encodeHeader, FILE_SIGNATURE, HEADER_OFFSETS, MIB } from './format/header.ts'
import { BLOCK_SIZE, type Disk, encodeMetadata, MAX_DISK } from './format/metadata.ts'
import { encodeRegions, REGION_TABLE_OFFSETS, type Region } from './format/regions.ts'

const GIB = 1024 * MIB
const TIB = 1024 * GIB

/** With the texts of QEMU. */
// biome-ignore format: a table
const options = {
  size:             size('Virtual disk size; max of 64TB.'),
  log_size:         size('Log size; min 1MB.', MIB),
  block_size:       size('Block Size; min 1MB, max 256MB. 0 means auto-calculate based on image size.', 0),
  subformat:        oneOf(['dynamic', 'fixed'], "VHDX format type, can be either 'dynamic' or 'fixed'. Default is 'dynamic'."),
  block_state_zero: bool("Force use of payload blocks of type 'ZERO'. Non-standard, but default.  Do not set to 'off' when using 'qemu-img convert' with subformat=dynamic."),
}

type CreateOptions = OptionValues<typeof options>

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/** Behind the BAT: the metadata, and room for more. */
const AFTER_BAT = 5 * MIB
const CREATOR = 'vmblock'
/** Bytes of the BAT that are written at a time. */
const PIECE = MIB

/** Where everything goes. */
interface Plan {
  readonly disk: Disk
  readonly geometry: Geometry
  readonly log: Region
  readonly bat: Region
  readonly metadata: Region
  /** Host offset of the first block of a fixed image, and what a dynamic one ends with. Bytes. */
  readonly dataOffset: number
}

/** The block size that QEMU takes for a disk, in bytes. */
function defaultBlockSize(diskSize: number): number {
  if (diskSize > 32 * TIB) return 64 * MIB
  if (diskSize > 100 * GIB) return 32 * MIB
  return diskSize > GIB ? 16 * MIB : 8 * MIB
}

/** @throws BlockError EINVAL in QEMU's words */
function planOf(given: CreateOptions): Plan {
  if (given.size === undefined) throw invalid('Image creation needs a size parameter')
  const diskSize = alignUp(given.size, SECTOR)
  if (diskSize > MAX_DISK) throw invalid('Image size too large; max of 64TB')
  const logLength = alignUp(given.log_size, MIB)
  if (logLength >= 2 ** 32) throw invalid('Log size must be smaller than 4 GB')
  if (logLength === 0) throw invalid('Log size must be a multiple of 1 MB')
  const blockSize = Math.min(alignUp(given.block_size, MIB), BLOCK_SIZE.most) || defaultBlockSize(diskSize)
  if (!isPowerOfTwo(blockSize)) throw invalid('Block size must be a power of two')
  const disk: Disk = {
    size: diskSize,
    blockSize,
    logicalSector: SECTOR,
    physicalSector: SECTOR,
    isFixed: given.subformat === 'fixed',
    hasParent: false,
  }
  const geometry = geometryOf(disk)
  const log = { offset: MIB, length: logLength }
  // An empty disk has a table all the same; in QEMU, it has one for millions of blocks.
  const bat = {
    offset: log.offset + log.length,
    length: alignUp(Math.max(geometry.entries * ENTRY_BYTES, 1), MIB),
  }
  const metadata = { offset: bat.offset + bat.length, length: MIB }
  return { disk, geometry, log, bat, metadata, dataOffset: metadata.offset + AFTER_BAT }
}

/**
 * Formats `file`, byte for byte as QEMU but for GUIDs, sequence numbers, the creator, and fixed images: those of QEMU
 * have no block until `block_state_zero` is off. The signature is written last, so that an interrupted creation leaves
 * no image.
 *
 * @throws BlockError EINVAL in QEMU's words; errors of the file
 */
async function create({ file, options: given }: CreateContext<CreateOptions>): Promise<void> {
  const plan = planOf(given)
  const { disk, bat, metadata, log, dataOffset } = plan
  await file.truncate(0, { exact: true })
  await file.truncate(dataOffset + (disk.isFixed ? disk.size : 0))
  if (disk.isFixed || given.block_state_zero !== false) await writeBat(file, plan)
  await file.write(metadata.offset, encodeMetadata(disk, randomGuid()))
  const regions = encodeRegions(bat, metadata)
  for (const offset of REGION_TABLE_OFFSETS) await file.write(offset, regions)
  const [fileWriteGuid, dataWriteGuid] = [randomGuid(), randomGuid()]
  for (const [i, offset] of HEADER_OFFSETS.entries())
    await file.write(
      offset,
      encodeHeader({
        sequence: BigInt(i),
        fileWriteGuid,
        dataWriteGuid,
        logGuid: NO_GUID,
        logVersion: 0,
        logOffset: log.offset,
        logLength: log.length,
      }),
    )
  await file.flush()
  await file.write(0, identifier())
  await file.flush()
}

/** The signature, and the name of the program that made the file. */
function identifier(): Uint8Array {
  const bytes = new Uint8Array(FILE_SIGNATURE.length + CREATOR.length * 2)
  bytes.set(new TextEncoder().encode(FILE_SIGNATURE))
  for (let i = 0; i < CREATOR.length; i++)
    viewOf(bytes).setUint16(FILE_SIGNATURE.length + i * 2, CREATOR.charCodeAt(i), true)
  return bytes
}

/** Each block of a fixed image in its place; each of a dynamic one as zeroes. */
async function writeBat(file: BlockNode, { geometry, disk, bat, dataOffset }: Plan): Promise<void> {
  const { blocks } = geometry
  const end = blocks === 0 ? 0 : (entryOfBlock(geometry, blocks - 1) + 1) * ENTRY_BYTES
  let block = 0
  for (let at = 0; at < end; at += PIECE) {
    const piece = new Uint8Array(Math.min(PIECE, alignUp(end - at, SECTOR)))
    for (; block < blocks; block++) {
      const within = entryOfBlock(geometry, block) * ENTRY_BYTES - at
      if (within >= piece.length) break
      if (disk.isFixed)
        encodeEntry(viewOf(piece), within, State.fullyPresent, dataOffset + block * disk.blockSize)
      else encodeEntry(viewOf(piece), within, State.zero, 0)
    }
    await file.write(bat.offset + at, piece)
  }
}

/** The making of VHDX images. */
export const vhdxCreation: Creation<typeof options> = {
  options,
  check: async (given) => void planOf(given),
  create,
}
