/** Allocates clusters for a guest range before it is written: `preallocation=` for a growing disk. */
import { BlockError, type Preallocation, type Table } from '@vmblock/block-core/driver'
import { entryHi, entryLo, ZERO_LO } from '../format/l2-entry.ts'
import { ALL_SUBCLUSTERS } from '../format/subclusters.ts'
import type { Image } from '../image/image.ts'
import { beforeLink } from '../image/write-order.ts'
import { entryAt, setEntry } from '../mapping/entries.ts'
import { indexInSlice, inWritableSlice, sliceCoverage } from '../mapping/slices.ts'
import { allocateClusters, releaseClusters } from '../refcounts/allocate.ts'
import { hasFullCache, makeRoomInCaches, relieve } from '../requests/room.ts'

/**
 * Allocates clusters for every guest cluster of [start, end) that has none; `start` begins a cluster. The
 * tables come first, so that the data clusters can lie at the end of the file, for `falloc` and `full`.
 */
export async function preallocate(
  image: Image,
  start: number,
  end: number,
  mode: Preallocation,
): Promise<void> {
  const { l2Coverage } = image.geometry
  if (start >= end) return
  image.isMostlyHoles = undefined
  await image.lock.run(async () => {
    for (let at = start; at < end; at += l2Coverage - (at % l2Coverage))
      await inWritableSlice(image, at, () => undefined)
  })
  const coverage = sliceCoverage(image)
  for (let at = start; at < end; ) {
    const from = at
    const stop = Math.min(end, at + coverage - (at % coverage))
    if (hasFullCache(image)) await makeRoomInCaches(image)
    await image.lock.run(() => preallocateSlice(image, from, stop, mode))
    await relieve(image)
    at = stop
  }
}

async function preallocateSlice(
  image: Image,
  start: number,
  end: number,
  mode: Preallocation,
): Promise<void> {
  const { clusterSize } = image.geometry
  if (image.encryption && image.header.version < 3)
    throw new BlockError(
      'ENOTSUP',
      'Preallocation of encrypted images is only supported with compatibility level 1.1 and above',
      { node: image.settings.nodeName },
    )
  const wanted = await inWritableSlice(image, start, (table) => emptyEntries(image, table, start, end))
  if (wanted.length === 0) return
  const bytes = wanted.length * clusterSize
  if (image.hasDataFile) {
    const first = indexInSlice(image, start)
    await beforeLink(image, 0, false)
    await linkAll(image, start, wanted, (_, index) => start + (index - first) * clusterSize)
    return
  }
  const { offset, zeroed } = await allocateClusters(image, wanted.length)
  try {
    if (mode !== 'metadata') await fill(image, offset, bytes)
    else if (!zeroed) {
      await image.overlaps.guard(offset, bytes)
      await image.file.writeZeroes(offset, bytes)
    }
    // The file must cover them before an entry points there. Data may be in flight to clusters before them.
    if (offset + bytes > image.file.size)
      await image.file.truncate(image.fileLength.untouchedFrom, { exact: false })
    await beforeLink(image, offset + bytes, !zeroed)
    await linkAll(image, start, wanted, (i) => offset + i * clusterSize)
  } catch (error) {
    await releaseClusters(image, offset, bytes).catch(() => undefined)
    throw error
  }
}

/** Zeroes are written in pieces of this many bytes. */
const PIECE = 1024 * 1024

/** Makes the host allocate space for clusters, by writing them. */
async function fill(image: Image, offset: number, bytes: number): Promise<void> {
  await image.overlaps.guard(offset, bytes)
  const zeroes = new Uint8Array(Math.min(bytes, PIECE))
  for (let done = 0; done < bytes; done += zeroes.length)
    await image.file.write(offset + done, zeroes.subarray(0, Math.min(zeroes.length, bytes - done)))
}

/** Indexes of the empty entries for guest bytes [start, end). */
function emptyEntries(image: Image, table: Table, start: number, end: number): number[] {
  const empty: number[] = []
  let index = indexInSlice(image, start)
  for (let guest = start; guest < end; guest += image.geometry.clusterSize, index++) {
    const { hi, lo, zeroes } = entryAt(image, table, index)
    if (hi === 0 && lo === 0 && zeroes === 0) empty.push(index)
  }
  return empty
}

async function linkAll(
  image: Image,
  start: number,
  indexes: readonly number[],
  hostOf: (i: number, index: number) => number,
): Promise<void> {
  const { l2EntrySize } = image.geometry
  // With a backing file the subclusters stay unallocated: its data shows through until they are written.
  const shown = image.extendedL2 && !image.backing ? ALL_SUBCLUSTERS : 0
  // What was never written decrypts to noise.
  const isNoise = image.encryption !== undefined
  const [allocated, zeroes] = isNoise ? [0, shown] : [shown, 0]
  const flags = isNoise && !image.extendedL2 ? ZERO_LO : 0
  await inWritableSlice(image, start, (table) => {
    for (const [i, index] of indexes.entries()) {
      const offset = hostOf(i, index)
      setEntry(image, table, index, {
        hi: entryHi(offset, true),
        lo: (entryLo(offset) | flags) >>> 0,
        zeroes,
        allocated,
      })
      image.l2Tables.changed(table, index * l2EntrySize, (index + 1) * l2EntrySize)
    }
  })
}
