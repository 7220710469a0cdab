/** The format extension: one cluster with features, of which dirty bitmaps are the only known one. */
import { alignUp, BlockError, divUp, isPowerOfTwo, layout, le, SECTOR } from '@vmblock/block-core/driver'
import { md5 } from './md5.ts'

const MAGIC = 0xab234cef23dcea87n
const END_OF_FEATURES = 0n
const DIRTY_BITMAP = 0x20385fae252cb34an

const HEAD = layout('format extension', 24, {
  magic: le.flags64(0),
  checksum: le.flags64(8),
  checksumEnd: le.flags64(16),
})
const FEATURE = layout('feature of a format extension', 24, {
  magic: le.flags64(0),
  /** Bit 0: programs that do not know the feature must not write to the image; bit 1: they keep the feature. */
  flags: le.flags64(8),
  bytes: le.u32(16),
  unused: le.u32(20),
})
const BITMAP = layout('dirty bitmap', 32, {
  /** Sectors of the disk. */
  size: le.flags64(0),
  id: le.flags64(8),
  idEnd: le.flags64(16),
  /** Sectors of one bit. */
  granularity: le.u32(24),
  entries: le.u32(28),
})

/** A dirty bitmap. Sizes and offsets are bytes. */
export interface StoredBitmap {
  /** Its id, as people write them. */
  readonly name: string
  /** Bytes of the disk that one bit stands for. */
  readonly granularity: number
  /** For each cluster of its bits: 0, all are clear; 1, all are set; else where it is in the file. */
  readonly table: Float64Array
}

/** What an extension holds. */
export interface Extension {
  readonly bitmaps: readonly StoredBitmap[]
}

/** An extension cannot be read. */
export class ExtensionError extends BlockError {
  /** A feature says that the image must not be changed, or that it has to be kept. */
  readonly forbidsWrites: boolean

  constructor(message: string, forbidsWrites = false) {
    super('EINVAL', message)
    this.forbidsWrites = forbidsWrites
  }
}

const hex = (value: bigint): string => `0x${value.toString(16)}`

/**
 * Reads an extension.
 *
 * @param cluster the cluster that holds it
 * @param disk bytes of the disk, and of the file
 * @throws ExtensionError in QEMU's words
 */
export function parseExtension(
  cluster: Uint8Array,
  disk: { readonly size: number; readonly fileSize: number },
): Extension {
  // A cluster of one sector has room for it.
  const { magic, checksum, checksumEnd } = HEAD.read(cluster)
  if (magic !== MAGIC)
    throw new ExtensionError(`Wrong parallels Format Extension magic: ${hex(magic)}, expected: ${hex(MAGIC)}`)
  const digest = HEAD.fields
  const sum = md5(cluster.subarray(HEAD.size))
  const view = new DataView(sum.buffer)
  if (digest.magic.get(view, 0) !== checksum || digest.checksum.get(view, 0) !== checksumEnd)
    throw new ExtensionError('Wrong checksum in Format Extension header. Format extension is corrupted.')
  const bitmaps: StoredBitmap[] = []
  for (let at = HEAD.size; ; ) {
    const left = cluster.length - at
    if (left < FEATURE.size)
      throw new ExtensionError(
        `Can not read feature header, as remaining bytes (${left}) in Format Extension is less than Feature header size (${FEATURE.size})`,
      )
    const feature = FEATURE.read(cluster, at)
    at += FEATURE.size
    if (feature.flags !== 0n) throw new ExtensionError('Flags for extension feature are unsupported', true)
    if (feature.bytes > cluster.length - at)
      throw new ExtensionError('Feature data_size exceedes Format Extension cluster')
    if (feature.magic === END_OF_FEATURES) return { bitmaps }
    if (feature.magic !== DIRTY_BITMAP) throw new ExtensionError(`Unknown feature: ${hex(feature.magic)}`)
    bitmaps.push(parseBitmap(cluster.subarray(at, at + feature.bytes), cluster.length, disk))
    at = Math.min(alignUp(at + feature.bytes, 8), cluster.length)
  }
}

function parseBitmap(
  data: Uint8Array,
  clusterSize: number,
  { size, fileSize }: { readonly size: number; readonly fileSize: number },
): StoredBitmap {
  if (data.length < BITMAP.size)
    throw new ExtensionError(
      `Too small Bitmap Feature area in Parallels Format Extension: ${data.length} bytes, expected at least ${BITMAP.size} bytes`,
    )
  const bitmap = BITMAP.read(data)
  if (bitmap.size !== BigInt(size / SECTOR))
    throw new ExtensionError(
      `Bitmap size (in sectors) ${bitmap.size} differs from disk size in sectors ${size / SECTOR}`,
    )
  if (bitmap.entries * 8 > data.length - BITMAP.size)
    throw new ExtensionError('Bitmaps feature corrupted: l1 table exceeds extension data_size')
  const granularity = bitmap.granularity * SECTOR
  if (!isPowerOfTwo(bitmap.granularity) || granularity > 2 ** 31)
    throw new ExtensionError(`Bitmap granularity of ${bitmap.granularity} sectors is not a power of two`)
  // QEMU stores bits in words of 64.
  const expected = divUp(divUp(divUp(size, granularity), 64) * 8, clusterSize)
  if (bitmap.entries !== expected)
    throw new ExtensionError(
      `Bitmap table size ${bitmap.entries} does not correspond to bitmap size and cluster size. Expected ${expected}`,
    )
  const view = new DataView(data.buffer, data.byteOffset + BITMAP.size)
  const table = Float64Array.from({ length: expected }, (_, index) => {
    const entry = view.getBigUint64(index * 8, true)
    if (entry <= 1n) return Number(entry)
    if (entry * BigInt(SECTOR) + BigInt(clusterSize) > BigInt(alignUp(fileSize, SECTOR)))
      throw new ExtensionError(`Failed to read bitmap data cluster: sector ${entry} is outside the file`)
    return Number(entry) * SECTOR
  })
  return { name: idText(data.subarray(8, 24)), granularity, table }
}

/** An id of 16 bytes, as QEMU writes it. */
function idText(id: Uint8Array): string {
  const digits = Array.from(id, (byte) => byte.toString(16).padStart(2, '0')).join('')
  return [0, 8, 12, 16, 20].map((at, index, all) => digits.slice(at, all[index + 1])).join('-')
}
