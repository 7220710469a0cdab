/** Changes the size of the guest's disk. */
import {
  alignDown,
  alignUp,
  BlockError,
  type Preallocation,
  SECTOR,
  type TruncateOptions,
} from '@vmblock/block-core/driver'
import { failureOf } from '@vmblock/block-core/late'
import { l1EntriesFor } from '../format/geometry.ts'
import { assumingField } from '../image/assume-header.ts'
import type { Image } from '../image/image.ts'
import { growL1, l2TableOffset } from '../mapping/l1.ts'
import { shrinkRefcountTable } from '../refcounts/refcount-shrink.ts'
import { trimFile } from '../refcounts/trim-file.ts'
import { readsAsZero } from '../requests/cow.ts'
import { discardClusters } from '../requests/discard.ts'
import { flushImage, quiesceImage } from '../requests/flush.ts'
import { blockStatus } from '../requests/status.ts'
import { write } from '../requests/write.ts'
import { writeZeroes } from '../requests/zero.ts'
import { hasVmState, vmStateOffset } from '../snapshots/vm-state.ts'
import { preallocate } from './preallocate.ts'

/**
 * Resizes the guest's disk to `size` bytes. Growing writes the tables first and the size last; shrinking
 * first unlinks the clusters beyond the new size, and then writes it.
 */
export async function truncate(image: Image, size: number, options: TruncateOptions): Promise<void> {
  const { preallocation = 'off' } = options
  const fail = (code: 'EINVAL' | 'ENOTSUP', message: string): BlockError =>
    new BlockError(code, message, { node: image.settings.nodeName })
  if (size % SECTOR !== 0) throw fail('EINVAL', 'The new size must be a multiple of 512')
  if (image.header.nbSnapshots > 0 && image.header.version < 3)
    throw fail('ENOTSUP', "Can't resize a v2 image which has snapshots")
  if (image.header.extensions.bitmaps && !image.bitmaps)
    throw fail('ENOTSUP', 'Cannot resize qcow2 with persistent bitmaps that were not loaded into memory')
  await image.bitmaps?.resizing(size)
  try {
    await changeSize(image, size, preallocation, options.zero === true)
  } finally {
    image.bitmaps?.resized()
  }
}

async function changeSize(
  image: Image,
  size: number,
  preallocation: Preallocation,
  zero: boolean,
): Promise<void> {
  const before = image.size
  await forgetVmState(image, size)
  if (size < before) {
    if (preallocation !== 'off')
      throw new BlockError('EINVAL', "Preallocation can't be used for shrinking an image", {
        node: image.settings.nodeName,
      })
    await shrink(image, size)
  } else {
    await grow(image, size, preallocation, zero)
  }
  if (image.isDataFileRaw) await image.store.truncate?.(size)
}

/** The area of the machine state begins behind the disk: what the disk grows over would become part of it. */
async function forgetVmState(image: Image, size: number): Promise<void> {
  if (!hasVmState(image)) return
  const { l2Coverage } = image.geometry
  const start = vmStateOffset(image)
  const end = Math.min(alignUp(size, l2Coverage), (image.l1.bytes.length / 8) * l2Coverage)
  if (start < end) await discardClusters(image, start, end, { full: true, reason: 'snapshot' })
}

async function grow(image: Image, size: number, preallocation: Preallocation, zero: boolean): Promise<void> {
  const before = image.size
  const { geometry } = image
  await image.lock.run(() => growL1(image, l1EntriesFor(geometry, size)))
  await image.store.grow?.(size, preallocation)
  // These steps need the new size, before it is visible on disk.
  await assumingField(image.headerWriter, 'size', size, async () => {
    await zeroOldEnd(image, before, size)
    // Whatever reads a raw data file alone sees data there; so must the tables, as in QEMU.
    const mode = preallocation === 'off' && image.isDataFileRaw ? 'metadata' : preallocation
    if (mode !== 'off') await preallocate(image, preallocationStart(image, before), size, mode)
    if (zero && size > before) await zeroGrown(image, before, size)
    await flushImage(image)
    await image.headerWriter.change({ size })
  })
}

/** Where preallocation begins: with the old last cluster, if allocating it hides nothing. */
const preallocationStart = (image: Image, before: number): number =>
  (image.backing ? alignUp : alignDown)(before, image.geometry.clusterSize)

/**
 * The backing file may have data where the disk grew; zero flags hide it.
 *
 * @throws BlockError ENOTSUP in QEMU's words: version 2 has no zero flags
 */
async function zeroGrown(image: Image, before: number, size: number): Promise<void> {
  const start = alignUp(before, image.geometry.clusterSize)
  if (!image.backing || start >= size) return
  await writeZeroes(image, start, size - start, {}).catch((error: unknown) => {
    throw failureOf('Failed to zero out new clusters', error)
  })
}

/**
 * Zeroes the bytes behind the old end in its cluster: there may be data from before the disk was shrunk,
 * which QEMU shows again, or data of the backing file. If the backing file ends before, nothing is hidden,
 * and nothing is allocated.
 */
async function zeroOldEnd(image: Image, before: number, size: number): Promise<void> {
  const end = Math.min(alignUp(before, image.geometry.clusterSize), size)
  for (let at = before; at < end; ) {
    const { zero, bytes } = await blockStatus(image, at, end - at)
    if (!zero && !(await readsAsZero(image, at, bytes))) await write(image, at, new Uint8Array(bytes))
    at += bytes
  }
}

async function shrink(image: Image, size: number): Promise<void> {
  const { geometry } = image
  const { clusterSize } = geometry
  const start = alignUp(size, clusterSize)
  const oldEnd = alignUp(image.size, clusterSize)
  if (start < oldEnd) await discardClusters(image, start, oldEnd, { full: true, reason: 'other' })
  await flushImage(image)
  await image.headerWriter.change({ size })
  await image.lock.run(() => shrinkL1(image, l1EntriesFor(geometry, size)))
  await image.store.truncate?.(size)
  await quiesceImage(image)
  await image.lock.run(() => shrinkRefcountTable(image))
  await quiesceImage(image)
  await image.lock.run(() => trimFile(image))
}

/** Frees L2 tables that no guest offset uses any more. The L1 table itself keeps its length, as in QEMU. */
async function shrinkL1(image: Image, entries: number): Promise<void> {
  const { clusterSize } = image.geometry
  const total = image.l1.bytes.length / 8
  await image.file.debugEvent('l1_shrink_write_table')
  const tables: number[] = []
  for (let index = entries; index < total; index++) {
    const offset = l2TableOffset(image, index)
    if (offset !== 0) tables.push(offset)
  }
  if (tables.length === 0) return
  image.l1.bytes.fill(0, entries * 8)
  image.overlaps.forget()
  await image.writeResident(image.l1, image.header.l1TableOffset, entries * 8, (total - entries) * 8)
  await image.flushFile()
  await image.file.debugEvent('l1_shrink_free_l2_clusters')
  for (const offset of tables) {
    image.l2Tables.drop(offset, clusterSize)
    image.frees.add(offset, clusterSize, 'other')
  }
}
