/** The bits of one bitmap in the image file: a table, each entry of which leads to one cluster of bits. */
import { alignUp, BlockError, DirtyBitmap, divUp, errorText, pause, viewOf } from '@vmblock/block-core/driver'
import { type BitmapEntry, bitmapCluster } from '../format/bitmap-layout.ts'
import type { HostRange } from '../format/host-range.ts'
import { MAX_BITMAP_BYTES } from '../format/rare-limits.ts'
import type { Image } from '../image/image.ts'
import { type Taken, takeClusters } from './directory.ts'

/** Bytes of tables that one image may have in all: more than 16 million clusters of bits. */
const MAX_TABLE_BYTES = 128 * 2 ** 20
/** Bytes of bits that one image may bring into memory. */
const MAX_MEMORY = 2 ** 30
/** Clusters of bits are allocated in rows of this many bytes. */
const ROW_BYTES = 2 ** 20

/**
 * Bounds what loading the bitmaps of one image may cost: entries of different tables may lead to the same place, so a
 * small file could hold any number of large bitmaps.
 */
export class LoadBudget {
  #tables = 0
  #bits = 0
  readonly #most: number

  constructor(image: Image) {
    this.#most = Math.min(image.file.size, MAX_MEMORY)
  }

  /** @throws BlockError EFBIG */
  table(bytes: number): void {
    this.#tables += bytes
    if (this.#tables > MAX_TABLE_BYTES)
      throw new BlockError('EFBIG', 'The tables of the bitmaps are too large')
  }
  /** @throws BlockError EFBIG */
  bits(bytes: number): void {
    this.#bits += bytes
    if (this.#bits > this.#most) throw new BlockError('EFBIG', 'The bitmaps are too large for the image file')
  }
}

/** Entries of the table of a bitmap of this size. */
export const tableEntries = ({ packedBytes }: DirtyBitmap, { geometry }: Image): number =>
  divUp(packedBytes, geometry.clusterSize)

/** A word of a bitmap's table that breaks the rules. */
const badTable = (name: string): BlockError =>
  new BlockError('EINVAL', `Could not read bitmap_table table from image for bitmap '${name}'`)

/** Reads the table of a bitmap. @throws BlockError EINVAL, EFBIG; the error of the file */
async function readTable(image: Image, entry: BitmapEntry, budget: LoadBudget): Promise<DataView> {
  const bytes = entry.tableSize * 8
  budget.table(bytes)
  if (entry.tableOffset + bytes > alignUp(image.file.size, image.geometry.clusterSize))
    throw badTable(entry.name)
  const table = new Uint8Array(bytes)
  await image.file.read(entry.tableOffset, table)
  return viewOf(table)
}

/**
 * Reads the bits of a bitmap that was saved.
 *
 * @throws BlockError EINVAL in QEMU's words; EFBIG if it is out of proportion to the file; the error of the file
 */
export async function loadContent(
  image: Image,
  entry: BitmapEntry,
  budget = new LoadBudget(image),
): Promise<DirtyBitmap> {
  const { clusterSize } = image.geometry
  const content = new DirtyBitmap(image.size, 2 ** entry.granularityBits)
  const table = await readTable(image, entry, budget)
  const failed = (): BlockError =>
    new BlockError('EINVAL', `Could not read bitmap '${entry.name}' from image`)
  if (entry.tableSize !== tableEntries(content, image)) throw failed()
  const bits = new Uint8Array(clusterSize)
  for (let index = 0; index < entry.tableSize; index++) {
    const cluster = bitmapCluster(table.getUint32(index * 8), table.getUint32(index * 8 + 4), clusterSize)
    if (!cluster) throw badTable(entry.name)
    if (cluster.kind === 'zeroes') continue
    const turning = pause()
    if (turning) await turning
    if (cluster.kind === 'ones') {
      const bytes = clusterSize * 8 * content.granularity
      content.set(index * bytes, bytes)
      continue
    }
    budget.bits(clusterSize)
    if (cluster.hostOffset + clusterSize > alignUp(image.file.size, clusterSize)) throw failed()
    await image.file.read(cluster.hostOffset, bits)
    content.unpack(index * clusterSize, bits)
  }
  return content
}

/**
 * Writes a bitmap into new clusters.
 *
 * @param taken receives these clusters: whatever happens, the caller frees them, or leads to them
 * @returns its entry for the directory
 * @throws BlockError in QEMU's words
 */
export async function storeContent(
  image: Image,
  name: string,
  content: DirtyBitmap,
  flags: number,
  taken: Taken,
): Promise<BitmapEntry> {
  const { clusterSize } = image.geometry
  if (content.packedBytes > MAX_BITMAP_BYTES)
    throw new BlockError('EFBIG', `Bitmap '${name}' is too big`, { node: image.settings.nodeName })
  const tableSize = tableEntries(content, image)
  const table = new Uint8Array(tableSize * 8)
  const take = (count: number): Promise<number> =>
    takeClusters(image, count, taken).catch((cause: unknown) => {
      throw detailed(`Failed to allocate clusters for bitmap '${name}'`, cause)
    })
  const write = (offset: number, bytes: Uint8Array): Promise<void> =>
    image.file.write(offset, bytes).catch((cause: unknown) => {
      throw detailed(`Failed to write bitmap '${name}' to file`, cause)
    })
  const perRow = Math.max(1, ROW_BYTES / clusterSize)
  let row: number[] = []
  const writeRow = async (): Promise<void> => {
    if (row.length === 0) return
    const offset = await take(row.length)
    const bits = new Uint8Array(row.length * clusterSize)
    for (const [i, index] of row.entries()) {
      content.pack(index * clusterSize, bits.subarray(i * clusterSize, (i + 1) * clusterSize))
      const host = offset + i * clusterSize
      viewOf(table).setUint32(index * 8, Math.floor(host / 2 ** 32))
      viewOf(table).setUint32(index * 8 + 4, host % 2 ** 32)
    }
    await write(offset, bits)
    row = []
  }
  const coverage = clusterSize * 8 * content.granularity
  for (let at = content.nextDirty(0); at < content.size; ) {
    const index = Math.floor(at / coverage)
    row.push(index)
    if (row.length === perRow) await writeRow()
    at = content.nextDirty((index + 1) * coverage)
  }
  await writeRow()
  const tableOffset = await take(divUp(table.length, clusterSize))
  await write(tableOffset, table)
  return { tableOffset, tableSize, flags, granularityBits: Math.log2(content.granularity), name }
}

/** As QEMU prints an error with what it was about. */
function detailed(what: string, cause: unknown): BlockError {
  const code = cause instanceof BlockError ? cause.code : 'EIO'
  return new BlockError(code, `${what}: ${errorText(cause)}`, { cause })
}

/**
 * The clusters of a bitmap's table and bits. Entries that break the rules are left out: what they lead to is not known
 * to be the bitmap's.
 *
 * @throws BlockError EINVAL, EFBIG; the error of the file
 */
export async function rangesOf(
  image: Image,
  entry: BitmapEntry,
  budget = new LoadBudget(image),
): Promise<HostRange[]> {
  const { clusterSize } = image.geometry
  const ranges: HostRange[] = [
    { offset: entry.tableOffset, bytes: alignUp(entry.tableSize * 8, clusterSize) },
  ]
  const table = await readTable(image, entry, budget)
  for (let at = 0; at < table.byteLength; at += 8) {
    const cluster = bitmapCluster(table.getUint32(at), table.getUint32(at + 4), clusterSize)
    if (cluster?.kind !== 'data') continue
    const last = ranges[ranges.length - 1]!
    if (ranges.length > 1 && last.offset + last.bytes === cluster.hostOffset)
      ranges[ranges.length - 1] = { offset: last.offset, bytes: last.bytes + clusterSize }
    else ranges.push({ offset: cluster.hostOffset, bytes: clusterSize })
  }
  return ranges
}
