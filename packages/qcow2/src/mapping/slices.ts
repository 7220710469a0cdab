/** Slices: the parts in which L2 tables are cached. Where an entry is in one, and how to get at one. */
import type { Table } from '@vmblock/block-core/driver'
import type { Image } from '../image/image.ts'
import { growL1, l2TableOffset, ownsL2Table, writableL2Table } from './l1.ts'

/** Guest bytes that one slice describes. */
export const sliceCoverage = (image: Image): number =>
  (image.l2Tables.sliceSize / image.geometry.l2EntrySize) * image.geometry.clusterSize

/** Index, within its slice, of the L2 entry for a guest offset. */
export const indexInSlice = (image: Image, offset: number): number =>
  Math.floor((offset % sliceCoverage(image)) / image.geometry.clusterSize)

/** Host offset of the slice with the L2 entry for a guest offset, given that of its table. */
export const sliceOffset = (image: Image, tableOffset: number, offset: number): number =>
  tableOffset +
  Math.floor((offset % image.geometry.l2Coverage) / sliceCoverage(image)) * image.l2Tables.sliceSize

/**
 * Runs `use` on the slice at a host offset, with no await in between: a reader that takes no lock might cause
 * the slice to be dropped meanwhile, and the changes would be lost.
 */
export async function inSlice<T>(image: Image, slice: number, use: (table: Table) => T): Promise<T> {
  for (;;) {
    const table = image.l2Tables.peek(slice)
    if (table) return use(table)
    await image.l2Tables.load(slice)
  }
}

/**
 * Runs `use` on the slice with the L2 entry for a guest offset, in a table that may be changed, which is made
 * if necessary. Runs under the image's lock. See {@link inSlice}.
 */
export async function inWritableSlice<T>(image: Image, offset: number, use: (table: Table) => T): Promise<T> {
  const l1Index = Math.floor(offset / image.geometry.l2Coverage)
  if (l1Index * 8 >= image.l1.bytes.length) await growL1(image, l1Index + 1)
  return inSlice(image, sliceOffset(image, await writableL2Table(image, l1Index), offset), use)
}

/** The slice for a guest offset, if it is cached and its table may be changed. */
export function peekWritableSlice(image: Image, offset: number): Table | undefined {
  const l1Index = Math.floor(offset / image.geometry.l2Coverage)
  const tableOffset = l2TableOffset(image, l1Index)
  if (tableOffset === 0 || !ownsL2Table(image, l1Index)) return undefined
  return image.l2Tables.peek(sliceOffset(image, tableOffset, offset))
}
