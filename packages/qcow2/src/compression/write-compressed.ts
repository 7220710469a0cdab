/**
 * Writes clusters compressed: compress - allocate bytes - write - link. Several clusters of a request are compressed at once; they
 * take their places in the file in the order of the disk.
 */
import { BlockError, divUp } from '@vmblock/block-core/driver'
import { compressedEntryHi, compressedEntryLo } from '../format/compressed-entry.ts'
import { COMPRESSED_HI, hostOffsetOf } from '../format/l2-entry.ts'
import type { Image } from '../image/image.ts'
import { beforeLink } from '../image/write-order.ts'
import { entryAt, setEntry } from '../mapping/entries.ts'
import { indexInSlice, inSlice, inWritableSlice } from '../mapping/slices.ts'
import { hasFullCache, isCrammed, makeRoom, makeRoomInCaches, relieve } from '../requests/room.ts'
import { tryAgain } from '../requests/try-again.ts'
import { holdingRange } from '../requests/update.ts'
import { write } from '../requests/write.ts'
import { allocateBytes, endOf, releaseBytes } from './packing.ts'

/** Clusters of a request that are compressed at once, as in QEMU. */
const AT_ONCE = 8

/**
 * Writes `from` at guest `offset`, in whole clusters; the last may end with the disk. A cluster that does not become smaller is
 * written as it is. When the request fails, some of its clusters may be written: those that were begun are, as in QEMU.
 *
 * @throws BlockError EIO if a cluster has data, or a place for it, already: only unallocated and zero clusters can be written
 *   compressed; ENOTSUP for images with a data file or encryption, and without a codec that compresses
 */
export async function writeCompressed(image: Image, offset: number, from: Uint8Array): Promise<void> {
  const { clusterSize } = image.geometry
  const compress = compressorOf(image)
  const count = divUp(from.length, clusterSize)
  let next = 0
  let failure: { readonly error: unknown } | undefined
  /** Resolves when the cluster before the next one has its place. */
  let turn: Promise<void> = Promise.resolve()
  const work = async (): Promise<void> => {
    while (next < count && !failure) {
      const start = next++ * clusterSize
      const piece = from.subarray(start, start + clusterSize)
      const before = turn
      let placed!: () => void
      turn = new Promise((resolve) => (placed = resolve))
      try {
        const data = await compress(piece.length < clusterSize ? padded(piece, clusterSize) : piece)
        await before
        if (data) await storeInRoom(image, offset + start, data, placed)
        else await write(image, offset + start, piece)
      } catch (error) {
        failure ??= { error }
      } finally {
        placed()
      }
    }
  }
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, count) }, work))
  if (failure) throw failure.error
}

function compressorOf({ codec, hasDataFile, header, settings }: Image) {
  const refused = (why: string): BlockError =>
    new BlockError('ENOTSUP', `compressed writes are not possible: ${why}`, { node: settings.nodeName })
  if (hasDataFile) throw refused('the data is in an external data file')
  if (header.cryptMethod !== 0) throw refused('the image is encrypted')
  if (!codec.compress) throw refused('the codec only decompresses')
  return (cluster: Uint8Array) => codec.compress!(cluster)
}

/** The end of the disk, with zeroes behind it. */
function padded(piece: Uint8Array, clusterSize: number): Uint8Array {
  const cluster = new Uint8Array(clusterSize)
  cluster.set(piece)
  return cluster
}

/** Stores a cluster; if there is no room, frees what waits, and tries again. */
async function storeInRoom(image: Image, guest: number, data: Uint8Array, placed: () => void): Promise<void> {
  if (isCrammed(image)) await makeRoom(image)
  const { released } = image.frees
  const run = (): Promise<void> => store(image, guest, data, placed)
  await run().catch((error: unknown) => tryAgain(image, { error, released, tries: 0 }, run))
}

async function store(image: Image, guest: number, data: Uint8Array, placed: () => void): Promise<void> {
  const epoch = image.requests.enter()
  try {
    await holdingRange(image, guest, guest + image.geometry.clusterSize, async () => {
      if (hasFullCache(image)) await makeRoomInCaches(image)
      const { slice, host } = await image.lock.run(() => reserve(image, guest, data.length))
      placed()
      try {
        await writeData(image, host, data)
        await image.lock.run(() => link(image, guest, slice, host, data.length))
      } catch (error) {
        // A release that fails as well leaves a leak; the first error is thrown.
        await image.lock.run(() => releaseBytes(image, host, data.length)).catch(() => undefined)
        throw error
      }
      await relieve(image)
    })
  } finally {
    image.requests.leave(epoch)
  }
}

/** Checks the entry, and allocates bytes. @returns host offsets of the slice with the entry, and of the bytes */
async function reserve(image: Image, guest: number, bytes: number): Promise<{ slice: number; host: number }> {
  const { slice, isFree } = await inWritableSlice(image, guest, (table) => {
    const { hi, lo } = entryAt(image, table, indexInSlice(image, guest))
    return { slice: table.offset, isFree: (hi & COMPRESSED_HI) === 0 && hostOffsetOf(hi, lo) === 0 }
  })
  if (!isFree)
    throw new BlockError('EIO', 'only unallocated clusters can be written compressed', {
      node: image.settings.nodeName,
      offset: guest,
    })
  return { slice, host: await allocateBytes(image, bytes) }
}

async function writeData(image: Image, host: number, data: Uint8Array): Promise<void> {
  await image.overlaps.guard(host, data.length)
  const announced = image.file.debugEvent('write_compressed')
  if (announced) await announced
  await image.file.write(host, data)
}

/** Points the entry at the data. Half of a stream is no cluster, so the data must be durable before it. */
async function link(image: Image, guest: number, slice: number, host: number, bytes: number): Promise<void> {
  const { clusterBits, l2EntrySize } = image.geometry
  const announced = image.file.debugEvent('l2_update_compressed')
  if (announced) await announced
  await beforeLink(image, endOf(image, host, bytes), true)
  await inSlice(image, slice, (table) => {
    const index = indexInSlice(image, guest)
    setEntry(image, table, index, {
      hi: compressedEntryHi(host, bytes, clusterBits),
      lo: compressedEntryLo(host),
      zeroes: 0,
      allocated: 0,
    })
    image.l2Tables.changed(table, index * l2EntrySize, (index + 1) * l2EntrySize)
  })
}
