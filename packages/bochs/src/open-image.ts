/** Opens growing images of Bochs, and finds and reads their sectors. */
import {
  type BlockChild,
  BlockError,
  type BlockStatus,
  inParts,
  type NodeOps,
  type OpenContext,
  SECTOR,
  viewOf,
} from '@vmblock/block-core/driver'
import { DecodedCache, readOnlyReopen, requireReadOnly } from '@vmblock/block-core/late'
import { ENTRY, HEADER_BYTES, type Header, NO_EXTENT, parseHeader } from './format/header.ts'

/** Bytes of the bitmaps that are kept. */
const BITMAPS = 2 ** 20
/** The most runs that one answer about the status joins: each may need a bitmap. */
const JOINED = 64

/** Sectors that lie together in the file, or that all read as zeroes. */
interface Run {
  readonly bytes: number
  /** Where they are, in bytes; undefined: they are zeroes. */
  readonly host: number | undefined
}

/** An open image. */
class Image {
  readonly header: Header
  readonly file: BlockChild
  readonly #name: string
  readonly #catalog: DataView
  readonly #bitmaps = new DecodedCache(BITMAPS)

  constructor(context: OpenContext<unknown>, file: BlockChild, header: Header, catalog: Uint8Array) {
    this.header = header
    this.file = file
    this.#name = context.nodeName
    this.#catalog = viewOf(catalog)
  }

  /**
   * The run that begins at a guest offset, and ends within the extent.
   *
   * @param bytes the most that are asked for
   * @throws BlockError EIO if the catalog points behind the end of the file; errors of the file
   */
  async runAt(offset: number, bytes: number): Promise<Run> {
    const { extentSize, bitmapBytes } = this.header
    const index = Math.floor(offset / extentSize)
    const within = offset - index * extentSize
    const room = Math.min(bytes, extentSize - within)
    const entry = this.#catalog.getUint32(index * ENTRY, true)
    if (entry === NO_EXTENT) return { bytes: room, host: undefined }
    const start = this.#dataOffset + entry * (bitmapBytes + extentSize)
    const bitmap = await this.#bitmapAt(start, index)
    const first = Math.floor(within / SECTOR)
    const last = Math.floor((within + room - 1) / SECTOR)
    const isSet = bitAt(bitmap, first)
    let next = first + 1
    while (next <= last && bitAt(bitmap, next) === isSet) next++
    const run = Math.min(next * SECTOR - within, room)
    if (!isSet) return { bytes: run, host: undefined }
    const host = start + bitmapBytes + within
    if (host + run > this.file.size) throw this.#outside(index)
    return { bytes: run, host }
  }

  drop(): void {
    this.#bitmaps.drop()
  }

  /** Where the extents begin, in bytes. */
  get #dataOffset(): number {
    const { catalogOffset, catalogEntries } = this.header
    return catalogOffset + catalogEntries * ENTRY
  }

  async #bitmapAt(start: number, index: number): Promise<Uint8Array> {
    const bytes = Math.ceil(this.header.extentSize / SECTOR / 8)
    if (start + bytes > this.file.size) throw this.#outside(index)
    return this.#bitmaps.get(index, bytes, async () => {
      const bitmap = new Uint8Array(bytes)
      await this.file.read(start, bitmap)
      return bitmap
    })
  }

  #outside(index: number): BlockError {
    return new BlockError('EIO', `Extent ${index} of the Bochs image lies behind the end of the file`, {
      node: this.#name,
      offset: index * this.header.extentSize,
    })
  }
}

const bitAt = (bitmap: Uint8Array, bit: number): boolean => ((bitmap[bit >>> 3]! >>> (bit & 7)) & 1) === 1

/**
 * Opens an image.
 *
 * @throws BlockError in QEMU's words; EACCES for writing
 */
export async function openImage(context: OpenContext<unknown>): Promise<NodeOps> {
  requireReadOnly(context)
  const file = await context.requireChild('file')
  const head = new Uint8Array(HEADER_BYTES)
  await file.read(0, head)
  const header = parseHeader(head, file.size)
  const catalog = new Uint8Array(header.catalogEntries * ENTRY)
  if (catalog.length > 0) await file.read(header.catalogOffset, catalog)
  const image = new Image(context, file, header, catalog)
  return {
    size: () => header.size,
    read: (offset, into) => read(image, offset, into),
    blockStatus: (offset, bytes) => blockStatus(image, offset, bytes),
    info: async () => ({ clusterSize: header.extentSize }),
    prepareReopen: readOnlyReopen,
    close: async () => image.drop(),
    crash: () => image.drop(),
  }
}

/** Fills `into` from a guest offset. */
const read = (image: Image, offset: number, into: Uint8Array): Promise<void> =>
  inParts(into.length, async (done, parts) => {
    const { bytes, host } = await image.runAt(offset + done, into.length - done)
    const piece = into.subarray(done, done + bytes)
    if (host === undefined) piece.fill(0)
    else await parts.add(() => image.file.read(host, piece))
    return bytes
  })

/** The status of the sectors from a guest offset on. */
async function blockStatus(image: Image, offset: number, bytes: number): Promise<BlockStatus> {
  const first = await image.runAt(offset, bytes)
  if (first.host !== undefined)
    return {
      bytes: first.bytes,
      allocated: true,
      data: true,
      zero: false,
      host: { child: image.file, offset: first.host },
    }
  let end = first.bytes
  for (let joined = 1; joined < JOINED && end < bytes; joined++) {
    const next = await image.runAt(offset + end, bytes - end)
    if (next.host !== undefined) break
    end += next.bytes
  }
  return { bytes: end, allocated: false, data: false, zero: true }
}
