/** Reads the tables of an image: regions, metadata, and where the blocks are. */
import { BlockError, NO_BLOCK, pause, viewOf, ZERO_BLOCK } from '@vmblock/block-core/driver'
import {
  decodeEntry,
  ENTRY_BYTES,
  entryOfBitmap,
  entryOfBlock,
  type Geometry,
  geometryOf,
  State,
} from './format/bat.ts'
import {
  type Disk,
  type ItemPlace,
  METADATA_TABLE_BYTES,
  parseDisk,
  parseMetadataTable,
} from './format/metadata.ts'
import { type ParentLocator, parseParentLocator } from './format/parent-locator.ts'
import {
  isRegionTable,
  parseRegions,
  REGION_TABLE_BYTES,
  REGION_TABLE_OFFSETS,
  type Region,
  type Regions,
} from './format/regions.ts'
import type { Headers } from './headers.ts'
import type { Source } from './log-search.ts'

/** What an image says of itself. Offsets and lengths are bytes. */
export interface Tables {
  readonly headers: Headers
  readonly log: Region
  readonly regions: Regions
  readonly disk: Disk
  readonly geometry: Geometry
  readonly parent: ParentLocator | undefined
  /** Where the blocks are, as `BlockMap` has it. Partial and unreadable ones count as not there. */
  readonly offsets: Float64Array
  /** Host offsets of blocks that are partly in the parent, by index. */
  readonly partial: ReadonlyMap<number, number>
  /** Host offsets of sector bitmaps, by index of the chunk: those that a partial block needs. */
  readonly bitmaps: ReadonlyMap<number, number>
  /** Blocks whose entry says nothing of their content: the state, by index. One that is present may be at 0. */
  readonly unreadable: ReadonlyMap<number, number>
  /** The file, with the log replayed. */
  readonly source: Source
}

/** Bytes of the block allocation table that are read at a time. */
const PIECE = 2 ** 20
/** Blocks in a wrong state that are remembered; more of them, and the image is refused. */
const MAX_UNREADABLE = 65_536

const invalid = (message: string): BlockError => new BlockError('EINVAL', message)

/** Calls `visit` for each block of the disk with its entry, its index in the table, and its own. */
export async function eachBlock(
  { source, regions, geometry }: Pick<Tables, 'source' | 'regions' | 'geometry'>,
  visit: (entry: ReturnType<typeof decodeEntry>, index: number, block: number) => void,
): Promise<void> {
  const { blocks, chunkRatio } = geometry
  const end = blocks === 0 ? 0 : (entryOfBlock(geometry, blocks - 1) + 1) * ENTRY_BYTES
  const piece = new Uint8Array(Math.min(PIECE, end))
  const view = viewOf(piece)
  for (let at = 0; at < end; at += piece.length) {
    const bytes = Math.min(piece.length, end - at)
    await source.read(regions.bat.offset + at, piece.subarray(0, bytes))
    const turning = pause(bytes / 4096)
    if (turning) await turning
    for (let i = 0; i < bytes; i += ENTRY_BYTES) {
      const index = (at + i) / ENTRY_BYTES
      const chunk = Math.floor(index / (chunkRatio + 1))
      if (index % (chunkRatio + 1) !== chunkRatio) visit(decodeEntry(view, i), index, index - chunk)
    }
  }
}

/** @throws BlockError EINVAL, ENOTSUP, EFBIG for an image that cannot be right; errors of the file */
export async function readTables(source: Source, headers: Headers, log: Region): Promise<Tables> {
  const regions = await readRegions(source, log)
  const { disk, parent } = await readMetadata(source, regions.metadata)
  const geometry = geometryOf(disk)
  const { bat } = regions
  if (geometry.entries * ENTRY_BYTES > bat.length)
    throw invalid(
      `the VHDX block allocation table has ${bat.length} bytes, and the disk needs ${geometry.entries * ENTRY_BYTES}`,
    )
  const offsets = new Float64Array(geometry.blocks)
  const partial = new Map<number, number>()
  const unreadable = new Map<number, number>()
  const place = { source, regions, geometry }
  await eachBlock(place, ({ state, offset }, _, block) => {
    if (state === State.fullyPresent && offset > 0) offsets[block] = offset
    else if (state === State.partiallyPresent && disk.hasParent) partial.set(block, offset)
    else if (state === State.notPresent) offsets[block] = NO_BLOCK
    else if (isZeroState(state)) offsets[block] = ZERO_BLOCK
    else if (unreadable.size < MAX_UNREADABLE) unreadable.set(block, state)
    else
      throw invalid(
        `more than ${MAX_UNREADABLE} VHDX blocks are in a state that says nothing of their content`,
      )
  })
  const bitmaps = await readBitmapPlaces(place, partial)
  return { headers, log, regions, disk, geometry, parent, offsets, partial, bitmaps, unreadable, source }
}

const isZeroState = (state: number): boolean =>
  state === State.undefined || state === State.zero || state === State.unmapped || state === State.oldUnmapped

async function readRegions(source: Source, log: Region): Promise<Regions> {
  for (const offset of REGION_TABLE_OFFSETS) {
    const bytes = new Uint8Array(REGION_TABLE_BYTES)
    await source.read(offset, bytes)
    // QEMU reads the first alone.
    if (!isRegionTable(bytes)) continue
    const regions = parseRegions(bytes, log)
    for (const { offset: start, length } of [regions.bat, regions.metadata])
      if (start + length > source.size)
        throw invalid(
          `VHDX region ${start}-${start + length} points after end of file (${source.size}). Image has probably been truncated.`,
        )
    return regions
  }
  throw invalid('both VHDX region tables are damaged')
}

async function readMetadata(
  source: Source,
  { offset, length }: Region,
): Promise<{ readonly disk: Disk; readonly parent: ParentLocator | undefined }> {
  const table = new Uint8Array(METADATA_TABLE_BYTES)
  await source.read(offset, table)
  const places = parseMetadataTable(table, length)
  const item = async (place: ItemPlace | undefined): Promise<Uint8Array> => {
    const bytes = new Uint8Array(place!.length)
    await source.read(offset + place!.offset, bytes)
    return bytes
  }
  const disk = parseDisk({
    fileParameters: await item(places.fileParameters),
    virtualSize: await item(places.virtualSize),
    logicalSector: await item(places.logicalSector),
    physicalSector: await item(places.physicalSector),
  })
  if (!disk.hasParent) return { disk, parent: undefined }
  if (!places.parentLocator) throw invalid('the VHDX image has a parent, and no parent locator')
  return { disk, parent: parseParentLocator(await item(places.parentLocator)) }
}

/** @throws BlockError EINVAL if a partial block has no bitmap */
async function readBitmapPlaces(
  { source, regions, geometry }: Pick<Tables, 'source' | 'regions' | 'geometry'>,
  partial: ReadonlyMap<number, number>,
): Promise<Map<number, number>> {
  const places = new Map<number, number>()
  for (const block of partial.keys()) {
    const chunk = Math.floor(block / geometry.chunkRatio)
    if (places.has(chunk)) continue
    const bytes = new Uint8Array(ENTRY_BYTES)
    const index = entryOfBitmap(geometry, block)
    await source.read(regions.bat.offset + index * ENTRY_BYTES, bytes)
    const { state, offset } = decodeEntry(viewOf(bytes), 0)
    if (state !== State.fullyPresent || offset < 2 ** 20 || offset + 2 ** 20 > source.size)
      throw invalid(`VHDX BAT entry ${index} has no sector bitmap, which block ${block} needs`)
    places.set(chunk, offset)
  }
  return places
}
