/**
 * The bitmap directory on disk: read where it is needed, marked in place, and replaced as a whole.
 *
 * Marking bitmaps as in use changes one word of each entry, which lies in one sector: so the directory is valid at every
 * moment, and no header has to be written (QEMU clears the autoclear bit meanwhile: a crash then loses all bitmaps).
 * Everything else goes into new clusters, and becomes valid by one write to the header. A crash leaves the old directory
 * or the new one, and leaks at most.
 */
import { alignUp, BlockError, divUp } from '@vmblock/block-core/driver'
import {
  type BitmapContext,
  type BitmapEntry,
  BitmapFlag,
  parseBitmapDirectory,
  serializeBitmapDirectory,
} from '../format/bitmap-layout.ts'
import { Autoclear } from '../format/features.ts'
import type { HostRange } from '../format/host-range.ts'
import { Metadata } from '../format/metadata.ts'
import { MAX_BITMAP_DIRECTORY_BYTES, MAX_BITMAPS } from '../format/rare-limits.ts'
import type { Image } from '../image/image.ts'
import { beforeActivate } from '../image/write-order.ts'
import { allocateClusters, freeClusters, releaseClusters } from '../refcounts/allocate.ts'
import { quiesceImage } from '../requests/flush.ts'

/**
 * Reads the directory; empty if the image has none.
 *
 * @throws BlockError EINVAL in QEMU's words; the error of the file
 */
export async function readDirectory(image: Image): Promise<BitmapEntry[]> {
  return (await readRaw(image))?.entries ?? []
}

/** The directory, and the bytes in which it lies; undefined if there is none. */
async function readRaw(
  image: Image,
): Promise<{ readonly entries: BitmapEntry[]; readonly bytes: Uint8Array } | undefined> {
  const { bitmaps } = image.header.extensions
  if (!bitmaps) return undefined
  const context: BitmapContext = {
    clusterSize: image.geometry.clusterSize,
    size: image.size,
    nbBitmaps: bitmaps.nbBitmaps,
  }
  const { node } = image.file
  if (bitmaps.directoryOffset + bitmaps.directorySize > alignUp(node.size, context.clusterSize))
    throw new BlockError('EINVAL', 'Failed to read bitmap directory', { offset: bitmaps.directoryOffset })
  const bytes = new Uint8Array(bitmaps.directorySize)
  await image.file.read(bitmaps.directoryOffset, bytes)
  return { entries: parseBitmapDirectory(bytes, context), bytes }
}

/**
 * Marks bitmaps as in use, durably, in place.
 *
 * @throws the error of the file: then some of them may be marked
 */
export async function markInUse(image: Image, names: ReadonlySet<string>): Promise<void> {
  const raw = await readRaw(image)
  const marked = raw?.entries.filter(({ name }) => names.has(name)) ?? []
  if (!raw || marked.length === 0) return image.flushFile()
  // Big-endian: the flag is in the last byte of the word.
  for (const { flagsAt = 0 } of marked) raw.bytes[flagsAt + 3]! |= BitmapFlag.inUse
  const from = marked[0]!.flagsAt!
  const bytes = raw.bytes.subarray(from, marked.at(-1)!.flagsAt! + 4)
  const at = image.header.extensions.bitmaps!.directoryOffset + from
  await image.overlaps.guard(at, bytes.length, Metadata.bitmapDirectory)
  await image.file.write(at, bytes)
  await image.flushFile()
}

/** Clusters that were taken for something that the header does not lead to yet. */
export type Taken = HostRange[]

/**
 * Takes clusters in a row, and notes them in `taken`.
 *
 * @returns host offset, in bytes
 * @throws what allocating throws
 */
export async function takeClusters(image: Image, count: number, taken: Taken): Promise<number> {
  const { offset } = await image.lock.run(async () => allocateClusters(image, count))
  const bytes = count * image.geometry.clusterSize
  taken.push({ offset, bytes })
  await image.overlaps.guard(offset, bytes)
  return offset
}

/** Gives clusters back after a failure. What cannot be given back leaks. */
export async function giveBack(image: Image, taken: Taken): Promise<void> {
  for (const { offset, bytes } of taken.splice(0))
    await image.lock.run(() => releaseClusters(image, offset, bytes)).catch(() => undefined)
}

/**
 * Replaces the directory: the new one is in the image when the promise resolves, and `unlinked` is free. If it fails,
 * the old one is still there.
 *
 * @param entries of the new directory; none: the image has no bitmaps any more
 * @param taken clusters of new tables, to which the new directory leads; emptied
 * @param unlinked ranges to which only the old directory led
 * @throws BlockError EFBIG in QEMU's words; ENOSPC; the error of the file
 */
export async function replaceDirectory(
  image: Image,
  entries: readonly BitmapEntry[],
  taken: Taken,
  unlinked: readonly HostRange[],
): Promise<void> {
  const { header, geometry } = image
  const old = header.extensions.bitmaps
  const bytes = serializeBitmapDirectory(entries)
  if (entries.length > MAX_BITMAPS) throw new BlockError('EFBIG', 'Too many persistent bitmaps')
  if (bytes.length > MAX_BITMAP_DIRECTORY_BYTES)
    throw new BlockError('EFBIG', 'Bitmap directory is too large')
  let directoryOffset = 0
  try {
    if (entries.length > 0) {
      directoryOffset = await takeClusters(image, divUp(bytes.length, geometry.clusterSize), taken)
      await image.file.write(directoryOffset, bytes)
    }
    await beforeActivate(image)
  } catch (error) {
    await giveBack(image, taken)
    throw error
  }
  const { bitmaps: _, ...others } = header.extensions
  // From here on the disk may lead to the new clusters, even if this fails: then they leak.
  taken.splice(0)
  const autoclear = header.autoclear & ~Autoclear.bitmaps
  // A write that drops the extension may be torn: until then it must not count any more.
  if (entries.length === 0) await image.headerWriter.change({ autoclear })
  await image.headerWriter.rewrite(
    entries.length > 0
      ? {
          autoclear: autoclear | Autoclear.bitmaps,
          extensions: {
            ...others,
            bitmaps: { nbBitmaps: entries.length, directorySize: bytes.length, directoryOffset },
          },
        }
      : { autoclear, extensions: others },
  )
  const free = [...unlinked]
  if (old) free.push({ offset: old.directoryOffset, bytes: alignUp(old.directorySize, geometry.clusterSize) })
  for (const range of free) await image.lock.run(() => freeClusters(image, { ...range, reason: 'other' }))
  await quiesceImage(image)
}
