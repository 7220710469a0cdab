/** Allocating clusters for a guest range ahead of any write to it: what `preallocation=` means for a growing disk. */
import type { Preallocation } from '@vmblock/block-core'
import { allocateClusters } from './allocate.ts'
import { entryHi, entryLo } from './format/l2-entry.ts'
import { ALL_SUBCLUSTERS } from './format/subclusters.ts'
import type { Image } from './image.ts'
import { relieve } from './link.ts'
import { entryWords, indexInSlice, setEntryWords, sliceCoverage } from './lookup.ts'
import { writableSlice } from './reserve.ts'
import { beforeLink } from './write-order.ts'

/**
 * Gives clusters to every guest cluster of [start, end) that has none; `start` begins a cluster. The tables
 * come first, so that the data clusters can lie at the end of the file, where `falloc` and `full` reach them.
 */
export async function preallocate(
  image: Image,
  start: number,
  end: number,
  mode: Preallocation,
): Promise<void> {
  const { l2Coverage } = image.geometry
  if (start >= end) return
  await image.lock.run(async () => {
    for (let at = start; at < end; at += l2Coverage - (at % l2Coverage)) await writableSlice(image, at)
  })
  const fileEnd = image.file.size
  const coverage = sliceCoverage(image)
  let last = 0
  for (let at = start; at < end; ) {
    const from = at
    const stop = Math.min(end, at + coverage - (at % coverage))
    last = Math.max(last, await image.lock.run(() => preallocateSlice(image, from, stop)))
    await relieve(image)
    at = stop
  }
  if (image.hasDataFile || last <= fileEnd) return
  // One byte at the end makes the clusters part of the file; the other modes fill them.
  await image.file.truncate(last, { preallocation: mode === 'metadata' ? 'off' : mode })
}

/** @returns where the last allocated cluster ends, in host bytes */
async function preallocateSlice(image: Image, start: number, end: number): Promise<number> {
  const { clusterSize, l2EntrySize } = image.geometry
  const table = await writableSlice(image, start)
  const first = indexInSlice(image, start)
  const wanted: number[] = []
  for (let guest = start, index = first; guest < end; guest += clusterSize, index++) {
    const { hi, lo, zeroes } = entryWords(image, table, index)
    if (hi === 0 && lo === 0 && zeroes === 0) wanted.push(index)
  }
  if (wanted.length === 0) return 0
  const host = image.hasDataFile ? undefined : await allocateClusters(image, wanted.length)
  if (host && !host.zeroed) {
    await image.overlaps.guard(host.offset, wanted.length * clusterSize)
    await image.file.writeZeroes(host.offset, wanted.length * clusterSize)
  }
  await beforeLink(
    image,
    host ? host.offset + wanted.length * clusterSize : 0,
    host !== undefined && !host.zeroed,
  )
  const current = await writableSlice(image, start)
  for (const [i, index] of wanted.entries()) {
    const offset = host ? host.offset + i * clusterSize : start + (index - first) * clusterSize
    // With a backing file the subclusters stay unallocated: its data shows through until they are written.
    const allocated = image.extendedL2 && !image.backing ? ALL_SUBCLUSTERS : 0
    setEntryWords(image, current, index, {
      hi: entryHi(offset, true),
      lo: entryLo(offset),
      zeroes: 0,
      allocated,
    })
    image.l2Tables.changed(current, index * l2EntrySize, (index + 1) * l2EntrySize)
  }
  return host ? host.offset + wanted.length * clusterSize : 0
}
