/** The chunks of all tables as one map of the disk. */
import { BlockError, SECTOR } from '@vmblock/block-core/driver'
import type { Chunk } from './chunks.ts'

/**
 * Sorts the chunks: tables may come in any order, in which QEMU does not find them all.
 *
 * @returns those of a disk, without a second one of the same data
 * @throws BlockError ECORRUPT if two of them have different data for a sector: which is right is not known
 */
export function sortedChunks(chunks: readonly Chunk[]): Chunk[] {
  const sorted: Chunk[] = []
  for (const chunk of [...chunks].sort((one, other) => one.start - other.start)) {
    const before = sorted.at(-1)
    if (before && chunk.start < before.start + before.bytes) {
      if (isSame(before, chunk)) continue
      throw new BlockError('ECORRUPT', `Two chunks of the dmg image have the sector ${chunk.start / SECTOR}`)
    }
    sorted.push(chunk)
  }
  return sorted
}

const isSame = (one: Chunk, other: Chunk): boolean =>
  one.type === other.type &&
  one.start === other.start &&
  one.bytes === other.bytes &&
  one.host === other.host &&
  one.hostBytes === other.hostBytes

/**
 * The place of the chunk that has a guest offset, in bytes; if none has, that of the next, which is their number if there
 * is none.
 */
export function placeOf(chunks: readonly Chunk[], offset: number): number {
  let low = 0
  let high = chunks.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const { start, bytes } = chunks[middle]!
    if (start + bytes <= offset) low = middle + 1
    else high = middle
  }
  return low
}
