/** Refcounts as repairs need them: found wherever they are not 0, and set whatever they were. */
import { isZero } from '@vmblock/block-core/driver'
import type { Image } from '../image/image.ts'
import { readSlice, sliceEntries, sliceOf } from './refcounts.ts'

/** The clusters of [first, end) whose refcount is not 0. Skips slices that cannot be read. */
export async function* countedClusters(image: Image, first: number, end: number): AsyncGenerator<number> {
  const entries = sliceEntries(image)
  for (let start = first; start < end; ) {
    const next = Math.min(end, (Math.floor(start / entries) + 1) * entries)
    const bytes = await readSlice(image, start).catch(() => undefined)
    if (bytes && !isZero(bytes)) {
      for (let cluster = start; cluster < next; cluster++)
        if (image.refcounts.get(bytes, cluster % entries) !== 0) yield cluster
    }
    start = next
  }
}

/** Stores a refcount. There must be a block for it. @throws the error of the file */
export async function setRefcount(image: Image, cluster: number, value: number): Promise<void> {
  const { refblocks, geometry } = image
  const offset = await sliceOf(image, cluster)
  while (!refblocks.peek(offset)) await refblocks.load(offset)
  const table = refblocks.peek(offset)!
  const index = cluster % sliceEntries(image)
  const bit = index * geometry.refcountBits
  image.refcounts.set(table.bytes, index, value)
  refblocks.changed(table, Math.floor(bit / 8), Math.ceil((bit + geometry.refcountBits) / 8))
  if (value === 0) {
    image.freeHint.noteFree(cluster)
    image.freeRuns.clear()
  }
}
