/** Makes disks of images with blocks larger. Requests for the disk as it was go on meanwhile. */
import { alignUp, SECTOR, viewOf } from '@vmblock/block-core/driver'
import { type BlockImage, ENTRY } from './block-image.ts'
import { writeZeroes } from './block-requests.ts'
import { NO_SECTOR, requireBlocks } from './format/dynamic-header.ts'
import { encodeFooter, resizedFooter } from './format/footer.ts'
import { roundToGeometry } from './format/geometry.ts'

/**
 * Makes the disk larger. What the table grows by is durable before the header says that it is there, and the header before
 * the size: an image that loses power has the old size, and at most a longer table.
 *
 * @param hidesParent the new part shows zeroes, also where the parent has data
 * @throws BlockError EFBIG for too many blocks; what the file throws
 */
export async function growBlocks(image: BlockImage, size: number, hidesParent: boolean): Promise<void> {
  const blocks = requireBlocks(Math.ceil(size / image.blockSize))
  await image.prepare()
  if (blocks > image.table.length) await extendTable(image, blocks)
  // Without a parent, only what lies behind the old end in its block, or in blocks that were there once.
  if (hidesParent || !image.isDifferencing) await zeroGrown(image, image.size, size)
  await image.flush()
  const footer = resizedFooter(image.footer, size, roundToGeometry(size).geometry)
  await image.replaceFooter(footer, encodeFooter(footer, image.footerBytes))
  image.size = size
}

async function extendTable(image: BlockImage, blocks: number): Promise<void> {
  const { entries } = image.header.values
  const known = image.table.length
  const behind = await readEntries(image, known, Math.min(entries, blocks))
  const table = new Uint32Array(blocks).fill(NO_SECTOR)
  // Without a pause: a request may link a block at any time.
  table.set(image.table)
  table.set(behind, known)
  image.table = table
  if (blocks > entries) await image.withoutFlush(() => growTable(image, blocks))
}

/** Entries that were behind the end of the disk. */
async function readEntries(
  { file, tableOffset }: BlockImage,
  from: number,
  end: number,
): Promise<Uint32Array> {
  const entries = new Uint32Array(Math.max(end - from, 0))
  const bytes = new Uint8Array(entries.length * ENTRY)
  if (bytes.length > 0) await file.read(tableOffset + from * ENTRY, bytes)
  return entries.map((_, i) => viewOf(bytes).getUint32(i * ENTRY))
}

/** Lengthens the table in its last sector, or moves it to the end of the file. */
async function growTable(image: BlockImage, blocks: number): Promise<void> {
  const { file, tableOffset, header, table } = image
  const { entries } = header.values
  const room = alignUp(tableOffset + entries * ENTRY, SECTOR) - tableOffset
  const isInPlace = blocks * ENTRY <= room
  const bytes = new Uint8Array(isInPlace ? blocks * ENTRY : alignUp(blocks * ENTRY, SECTOR)).fill(0xff)
  const at = isInPlace ? tableOffset : await image.appendRoom(bytes.length)
  const view = viewOf(bytes)
  for (let i = 0; i < blocks; i++) if (!image.isPending(i)) view.setUint32(i * ENTRY, table[i]!)
  const from = isInPlace ? entries * ENTRY : 0
  await file.write(at + from, bytes.subarray(from))
  await file.flush()
  await image.writeHeader({ ...header.values, tableOffset: BigInt(at), entries: blocks })
  await file.flush()
}

async function zeroGrown(image: BlockImage, from: number, size: number): Promise<void> {
  for (let at = from; at < size; ) {
    const end = Math.min(alignUp(at + 1, image.blockSize), size)
    const isThere = image.placeOf(Math.floor(at / image.blockSize)) !== undefined
    if (isThere || image.isDifferencing) await writeZeroes(image, at, end - at, { mayUnmap: true })
    at = end
  }
}
