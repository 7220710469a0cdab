/** Whether blocks lie where they can: inside the file, and neither in a region nor in each other. */
import { alignUp, BlockError, type FindingWord, SECTOR } from '@vmblock/block-core/driver'
import { entryOfBlock, State } from './format/bat.ts'
import { MIB } from './format/header.ts'
import { type Region, regionsOverlap } from './format/regions.ts'
import type { Tables } from './read-tables.ts'

/** What is wrong with the place of a block. */
export interface Misplaced {
  readonly what: FindingWord
  /** With QEMU's words where it has some. */
  readonly message: string
  /** Host offset in bytes. */
  readonly offset: number
}

/** Largest offset in a file, plus one. */
const TOP = 2 ** 63

/** Bytes that a block takes at least: the last one ends with the disk in files of earlier versions of QEMU. */
const lengthOf = ({ disk, geometry }: Tables, block: number): number =>
  block === geometry.blocks - 1 ? disk.size - block * disk.blockSize : disk.blockSize

/**
 * Blocks outside the file, or in its tables. QEMU does not open such an image, except to check it.
 *
 * @param block its index
 * @param offset its host offset, in bytes
 */
export function* misplacedBlock(tables: Tables, block: number, offset: number): Iterable<Misplaced> {
  const { disk, geometry, regions, source } = tables
  const entry = `VHDX BAT entry ${entryOfBlock(geometry, block)}`
  const fileSize = alignUp(source.size, SECTOR)
  const end = offset + lengthOf(tables, block)
  const truncated = `points after end of file (${source.size}). Image has probably been truncated.`
  const found = (what: FindingWord, message: string): Misplaced => ({ what, message, offset })
  if (offset >= TOP - disk.blockSize) yield found('reference-outside-file', `${entry} offset overflow.`)
  if (offset >= fileSize)
    yield found('reference-outside-file', `${entry} start offset ${offset} ${truncated}`)
  else if (end > fileSize)
    yield found('reference-outside-file', `${entry} end offset ${end - 1} ${truncated}`)
  if (offset < MIB) yield found('reference-into-header', `${entry} start offset ${offset} is in the headers.`)
  const place: Region = { offset, length: disk.blockSize }
  for (const region of regions.all)
    if (regionsOverlap(place, region))
      yield found(
        'reference-into-header',
        `VHDX region ${offset}-${offset + place.length} overlaps with region ${region.offset}-${region.offset + region.length}`,
      )
}

/**
 * The first misplaced block.
 *
 * @throws BlockError EINVAL if there is one
 */
export function requirePlaces(tables: Tables): void {
  const { offsets, partial, unreadable } = tables
  const require = (block: number, offset: number): void => {
    for (const { message } of misplacedBlock(tables, block, offset)) throw new BlockError('EINVAL', message)
  }
  for (let block = 0; block < offsets.length; block++)
    if (isData(offsets[block]!)) require(block, offsets[block]!)
  for (const [block, offset] of partial) require(block, offset)
  for (const [block, state] of unreadable) if (state === State.fullyPresent) require(block, 0)
}

/** Neither no block nor a block of zeroes. */
const isData = (offset: number): boolean => offset > 1

/** Two blocks that have bytes in common. */
export type Overlap = readonly [first: number, second: number]

/** The pairs of neighbours in the file that overlap. */
export function overlappingBlocks(tables: Tables): Overlap[] {
  if (!mayOverlap(tables)) return []
  const { offsets, partial } = tables
  const placeOf = (block: number): number => partial.get(block) ?? offsets[block]!
  const order = [...offsets.keys()].filter((block) => isData(placeOf(block)))
  order.sort((a, b) => placeOf(a) - placeOf(b))
  const overlaps: Overlap[] = []
  for (let i = 1; i < order.length; i++) {
    const [first, second] = [order[i - 1]!, order[i]!]
    const end = placeOf(first) + alignUp(lengthOf(tables, first), MIB)
    if (placeOf(second) < end) overlaps.push([first, second])
  }
  return overlaps
}

/** A quick look: sorts numbers alone. */
function mayOverlap(tables: Tables): boolean {
  const places = sortedPlaces(tables)
  for (let i = 1; i < places.length; i++) if (places[i]! - places[i - 1]! < tables.disk.blockSize) return true
  return false
}

function sortedPlaces({ offsets, partial }: Tables): Float64Array {
  const places = new Float64Array(offsets.length + partial.size)
  places.set(offsets)
  places.set([...partial.values()], offsets.length)
  return places.filter(isData).sort()
}

/**
 * Host offset in bytes behind everything that is in the file.
 *
 * @throws BlockError EINVAL if two blocks overlap: a write to one would change the other
 */
export function endOfImage(tables: Tables): number {
  const overlap = overlappingBlocks(tables)[0]
  if (overlap)
    throw new BlockError('EINVAL', `VHDX blocks ${overlap[0]} and ${overlap[1]} overlap in the file`)
  const ends = tables.regions.all.map(({ offset, length }) => offset + length)
  const last = sortedPlaces(tables).at(-1)
  return alignUp(Math.max(MIB, ...ends, last === undefined ? 0 : last + tables.disk.blockSize), MIB)
}
