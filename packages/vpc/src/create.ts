/** Makes images: fixed and dynamic ones as QEMU does, byte for byte but for identity and time; and differencing ones. */
import {
  alignDown,
  alignUp,
  BlockError,
  bool,
  type CreateContext,
  type Creation,
  forgetContent,
  isPowerOfTwo,
  type OptionValues,
  oneOf,
  SECTOR,
  size,
  text,
} from '@vmblock/block-core/driver'
import { FOOTER_BYTES } from './format/cookie.ts'
import {
  BLOCK_SIZE,
  HEADER_BYTES,
  type NewParent,
  newHeader,
  requireBlocks,
} from './format/dynamic-header.ts'
import { DiskType, encodeFooter, MAX_DISK, newFooter, timeNow, uuidOf } from './format/footer.ts'
import { type Geometry, MAX_GEOMETRY, roundToGeometry } from './format/geometry.ts'
import { type EncodedName, encodeName } from './format/parent-names.ts'
import { type ParentFacts, parentFacts } from './parent-facts.ts'

/** Where the dynamic header is. */
const HEADER_AT = FOOTER_BYTES
/** Largest block that is made, in bytes. */
const MAX_BLOCK_SIZE = 2 ** 28
/** Where the table of blocks is. */
const TABLE_AT = HEADER_AT + HEADER_BYTES

/** With the texts of QEMU, which has no differencing images. */
// biome-ignore format: a table
const options = {
  size:         size('Virtual disk size'),
  subformat:    oneOf(['dynamic', 'fixed', 'differencing'], 'Type of virtual hard disk format. Supported formats are {dynamic (default) | fixed} '),
  force_size:   bool('Force disk size calculation to use the actual size specified, rather than using the nearest CHS-based calculation'),
  block_size:   { ...size('Bytes of a block', BLOCK_SIZE), isUnlisted: true },
  backing_file: { ...text('File name of the parent, of a differencing image'), isUnlisted: true },
  backing_fmt:  { ...text('Image format of the parent: vpc'), isUnlisted: true },
}

type CreateOptions = OptionValues<typeof options>

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/** What follows from the options. */
interface Plan {
  readonly type: number
  readonly size: number
  readonly geometry: Geometry
  readonly isExact: boolean
  readonly blockSize: number
  /** Entries of the table. */
  readonly blocks: number
  /** Where the parent is. */
  readonly parent: string | undefined
}

/** @throws BlockError EINVAL for options that do not go together; EFBIG above 2040 GiB */
function planOf(given: CreateOptions): Plan {
  const {
    subformat,
    force_size: force = false,
    block_size: blockSize,
    backing_file: parent,
    backing_fmt: format,
  } = given
  if (given.size === undefined) throw invalid('Image creation needs a size parameter')
  const isOverlay = parent !== undefined || subformat === 'differencing'
  if (isOverlay && subformat !== undefined && subformat !== 'differencing')
    throw invalid(`A ${subformat} VHD has no parent: subformat=differencing has`)
  if (isOverlay && format !== undefined && format !== 'vpc')
    throw invalid(`The parent of a VHD is a VHD: backing_fmt must be 'vpc', not '${format}'`)
  if (parent !== undefined) encodeName(parent, 0)
  if (!isPowerOfTwo(blockSize) || blockSize < SECTOR || blockSize > MAX_BLOCK_SIZE)
    throw invalid(`The block size must be a power of two between ${SECTOR} and ${MAX_BLOCK_SIZE}`)
  const wanted = alignUp(given.size, SECTOR)
  // The size of a parent need not be one that a geometry expresses.
  const isExact = force || isOverlay
  const rounded = isExact ? { geometry: MAX_GEOMETRY, size: wanted } : roundToGeometry(wanted)
  if (rounded.size > MAX_DISK) throw new BlockError('EFBIG', 'Disk size is too large, max size is 2040 GiB')
  const type = isOverlay ? DiskType.differencing : subformat === 'fixed' ? DiskType.fixed : DiskType.dynamic
  return {
    ...rounded,
    type,
    isExact,
    blockSize,
    blocks: requireBlocks(Math.ceil(rounded.size / blockSize)),
    parent,
  }
}

/** What the parent says of itself. @throws BlockError EINVAL if it is not a VHD; what opening it throws */
async function factsOf(
  describe: CreateContext<unknown>['describeBacking'],
): Promise<ParentFacts | undefined> {
  const described = await describe?.()
  if (!described) return undefined
  const facts = parentFacts(described.info.formatSpecific)
  if (!facts) throw invalid(`The parent of a VHD is a VHD, not an image in the format '${described.driver}'`)
  return facts
}

function parentOf(facts: ParentFacts | undefined, name: EncodedName | undefined): NewParent {
  return {
    ...(facts ? uuidOf(facts.uuid) : { high: 0n, low: 0n }),
    time: facts?.timestamp ?? 0,
    name: name?.name ?? new Uint8Array(0),
    locators: name ? [name.locator] : [],
  }
}

/**
 * Formats `file`. What makes it an image, the footer at its start or the only one, is written last.
 *
 * @throws BlockError EINVAL, EFBIG; what the file throws
 */
async function create({
  file,
  options: given,
  describeBacking,
}: CreateContext<CreateOptions>): Promise<void> {
  const plan = planOf(given)
  const { type, blocks, blockSize } = plan
  const isOverlay = type === DiskType.differencing
  const facts = isOverlay ? await factsOf(describeBacking) : undefined
  const isFixed = type === DiskType.fixed
  const footer = newFooter({ ...plan, dataOffset: isFixed ? undefined : HEADER_AT })
  // Made in the same second as its parent: not before it, whatever the clock says.
  const bytes = encodeFooter({ ...footer, time: Math.max(timeNow(), facts?.timestamp ?? 0) })
  await file.truncate(0, { exact: false })
  // What stays of a device is not to be taken for an image, or for its end.
  await forgetContent(file)
  const left = alignDown(file.size, SECTOR)
  if (left > 0) await file.writeZeroes(left - FOOTER_BYTES, FOOTER_BYTES)
  if (isFixed) {
    await file.truncate(plan.size + FOOTER_BYTES, { exact: false })
    await file.write(alignDown(file.size, SECTOR) - FOOTER_BYTES, bytes)
    return file.flush()
  }
  const tableEnd = TABLE_AT + alignUp(blocks * 4, SECTOR)
  const name = plan.parent === undefined ? undefined : encodeName(plan.parent, tableEnd)
  const end = tableEnd + (name?.data.length ?? 0)
  await file.write(end, bytes)
  if (name) await file.write(tableEnd, name.data)
  await file.write(
    HEADER_AT,
    newHeader({
      tableOffset: TABLE_AT,
      entries: blocks,
      blockSize,
      parent: isOverlay ? parentOf(facts, name) : undefined,
    }),
  )
  if (tableEnd > TABLE_AT) await file.write(TABLE_AT, new Uint8Array(tableEnd - TABLE_AT).fill(0xff))
  await file.write(0, bytes)
  await file.flush()
}

/** The making of VHD images. */
export const vpcCreation: Creation<typeof options> = {
  options,
  check: async (given) => void planOf(given),
  create,
}
