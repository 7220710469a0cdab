/** Reads the tables of images with blocks, and finds their parents. */
import {
  alignUp,
  type BlockChild,
  BlockError,
  type BlockNode,
  type ChildReference,
  isBlockError,
  type OpenContext,
  SECTOR,
  viewOf,
} from '@vmblock/block-core/driver'
import { type BlockTables, ENTRY } from './block-image.ts'
import type { FoundFooter } from './find-footer.ts'
import {
  bitmapBytes,
  blocksOf,
  type DynamicHeader,
  decodeHeader,
  HEADER_BYTES,
  type Locator,
  MAX_BLOCKS,
  NAME_BYTES,
  NO_SECTOR,
  requireChecksum,
  VALUES_BYTES,
} from './format/dynamic-header.ts'
import { diskSize, type SizeRule, uuidText } from './format/footer.ts'
import { decodeLocator, decodeName, knownLocators, MAX_NAME } from './format/parent-names.ts'
import { parentFacts } from './parent-facts.ts'

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/** A 64-bit offset of a structure of `bytes` bytes, which has to lie in the file. */
function requireInside(file: BlockChild, offset: bigint, bytes: number, message: string): number {
  if (offset + BigInt(bytes) > BigInt(alignUp(file.size, SECTOR))) throw invalid(message)
  return Number(offset)
}

/**
 * Reads header and table.
 *
 * @throws BlockError EINVAL in QEMU's words where it has some; EFBIG
 */
export async function readTables(
  file: BlockChild,
  found: FoundFooter,
  rule: SizeRule | undefined,
): Promise<BlockTables> {
  const size = diskSize(found.footer, rule)
  const lost = 'Error reading dynamic VHD header'
  const headerAt = requireInside(file, found.footer.dataOffset, HEADER_BYTES, lost)
  const bytes = new Uint8Array(HEADER_BYTES)
  await file.read(headerAt, bytes)
  const header = decodeHeader(bytes)
  const { entries, blockSize, tableOffset } = header.values
  const blocks = blocksOf(header.values, size)
  requireChecksum(header)
  const tableAt = requireInside(file, tableOffset, entries * ENTRY, 'Error reading pagetable')
  const table = await readTable(file, tableAt, blocks)
  const stride = bitmapBytes(blockSize) + blockSize
  const fileEnd = alignUp(file.size, SECTOR)
  const outside = table.find((sector) => sector !== NO_SECTOR && sector * SECTOR + stride > fileEnd)
  if (outside !== undefined)
    throw invalid(
      'block-vpc: free_data_block_offset points after the end of file. The image has been truncated.',
    )
  const ends = [
    headerAt + HEADER_BYTES,
    tableAt + entries * ENTRY,
    await batmapEnd(file, tableAt + entries * ENTRY),
  ]
  for (const { offset, bytes: length } of header.locators)
    if (offset + BigInt(length) <= BigInt(fileEnd)) ends.push(Number(offset) + length)
  // Blocks that the geometry leaves out.
  const known = BigInt(size) < found.footer.currentSize ? Math.min(entries, MAX_BLOCKS) : blocks
  const hidden = await readTable(file, tableAt + blocks * ENTRY, Math.max(known - blocks, 0))
  const hiddenEnds = [...hidden]
    .filter((sector) => sector !== NO_SECTOR)
    .map((sector) => sector * SECTOR + stride)
  for (const end of hiddenEnds) if (end <= fileEnd) ends.push(end)
  const isCut = hiddenEnds.length > 0
  return { found, header, size, table, structuresEnd: ends.reduce((a, b) => Math.max(a, b)), isCut }
}

async function readTable(file: BlockChild, at: number, blocks: number): Promise<Uint32Array> {
  const table = new Uint32Array(blocks)
  const bytes = new Uint8Array(Math.min(blocks * ENTRY, 2 ** 20))
  for (let first = 0; first < blocks; first += bytes.length / ENTRY) {
    const part = bytes.subarray(0, Math.min(bytes.length, (blocks - first) * ENTRY))
    await file.read(at + first * ENTRY, part)
    const view = viewOf(part)
    for (let i = 0; i < part.length / ENTRY; i++) table[first + i] = view.getUint32(i * ENTRY)
  }
  return table
}

/** `tdbatmap`: XenServer keeps a map of full blocks behind the table. */
const BATMAP = 0x746462_61746d6170n

/** Where such a map ends, in bytes; 0: there is none. */
async function batmapEnd(file: BlockChild, tableEnd: number): Promise<number> {
  const at = alignUp(tableEnd, SECTOR)
  const head = new Uint8Array(24)
  if (at + head.length > file.size) return 0
  await file.read(at, head)
  const view = viewOf(head)
  const offset = view.getBigUint64(8)
  const sectors = view.getUint32(16)
  const isMap = view.getBigUint64(0) === BATMAP && offset + BigInt(sectors * SECTOR) <= BigInt(file.size)
  return isMap ? Number(offset) + sectors * SECTOR : 0
}

/** The names of a parent, in the order in which they are tried. */
export async function parentNames(file: BlockChild, { bytes, locators }: DynamicHeader): Promise<string[]> {
  const names: (string | undefined)[] = []
  for (const locator of knownLocators(locators)) names.push(await readLocator(file, locator))
  names.push(decodeName(bytes.subarray(VALUES_BYTES, VALUES_BYTES + NAME_BYTES)))
  return [...new Set(names)].filter((name) => name !== undefined)
}

async function readLocator(file: BlockChild, locator: Locator): Promise<string | undefined> {
  const { offset, bytes } = locator
  if (bytes === 0 || bytes > MAX_NAME || offset + BigInt(bytes) > BigInt(file.size)) return undefined
  const data = new Uint8Array(bytes)
  await file.read(Number(offset), data)
  return decodeLocator(locator, data)
}

type Context = Pick<OpenContext<unknown, 'file' | 'backing'>, 'child'>

/**
 * Opens the parent: the one that the user gave, or by the first name under which there is a file.
 *
 * @throws BlockError EINVAL if there is no name, or the image below is another one than it was; what opening it throws
 */
export async function openParent(
  context: Context,
  names: readonly string[],
  header: DynamicHeader,
): Promise<BlockChild | undefined> {
  const backing = await openFirst(context, names)
  if (backing) await requireSameParent(backing, header)
  return backing
}

async function openFirst(context: Context, names: readonly string[]): Promise<BlockChild | undefined> {
  // The parent of a VHD is one.
  const references: ChildReference[] = names.map((filename) => ({ filename, driver: 'vpc' }))
  if (references.length === 0) return openNameless(context)
  let failure: unknown
  for (const reference of references) {
    try {
      return await context.child('backing', reference)
    } catch (error) {
      failure ??= error
      // Only if nothing is there: what is there, and cannot be opened, is not to be passed over.
      if (!isBlockError(error, 'ENOENT')) break
    }
  }
  throw failure
}

async function openNameless(context: Context): Promise<BlockChild | undefined> {
  try {
    return await context.child('backing', { filename: '', driver: 'vpc' })
  } catch (error) {
    if (!isBlockError(error)) throw error
    throw new BlockError('EINVAL', 'the image is a differencing one, and does not name its parent', {
      cause: error,
    })
  }
}

async function requireSameParent(backing: BlockChild, { values }: DynamicHeader): Promise<void> {
  let node: BlockNode = backing.node
  while (node.driver.kind === 'filter' && node.file) node = node.file.node
  const facts = parentFacts((await node.info()).formatSpecific)
  const wanted = uuidText(values.parentHigh, values.parentLow)
  if (!facts || (values.parentHigh === 0n && values.parentLow === 0n)) return
  const name = `'${node.filename || node.name}'`
  if (facts.uuid !== wanted)
    throw invalid(
      `${name} is not the parent of this image: its UUID is ${facts.uuid}, and that of the parent is ${wanted}`,
    )
  // Some programs note the time when the parent was made, others that of its last change, or none.
  if (values.parentTime !== 0 && values.parentTime < facts.timestamp)
    throw invalid(`${name} is not the parent of this image any more: it was made anew after this image was`)
}
