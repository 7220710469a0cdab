/** The walk of a check: counts everything that refers to host clusters, and reports problems on the way. */

import { checkFinding } from '@vmblock/block-core/check'
import {
  alignUp,
  BlockError,
  divUp,
  type FindingDetails,
  type FindingWord,
  isBlockError,
  isZero,
  messageOf,
  pause,
  viewOf,
} from '@vmblock/block-core/driver'
import { errorText } from '@vmblock/block-core/late'
import { type BitmapEntry, bitmapCluster, parseBitmapDirectory } from '../format/bitmap-layout.ts'
import { decimal } from '../format/decimal.ts'
import type { BitmapsExtension } from '../format/extensions.ts'
import { Autoclear } from '../format/features.ts'
import { COPIED_HI, hostOffsetOf, refblockOffset } from '../format/l2-entry.ts'
import { MAX_L1_BYTES } from '../format/limits.ts'
import { L1_RESERVED_HI, L1_RESERVED_LO, REFCOUNT_TABLE_RESERVED_LO } from '../format/reserved-bits.ts'
import type { Snapshot } from '../format/snapshot-layout.ts'
import { decodeName } from '../format/words.ts'
import { walkSnapshots } from '../snapshots/snapshots.ts'
import {
  type Check,
  countReference,
  countTable,
  ENTRIES_OF_UNIT,
  found,
  hex,
  hexWord,
} from './check-state.ts'
import { countL2 } from './count-l2.ts'
import { TableReader } from './table-reader.ts'
import { HEADER, l1Table, l2Table, placeIn, snapshotTable, type Table } from './tables.ts'

/** Counts all references. Fails only if the file cannot be read. */
export async function countReferences(check: Check): Promise<void> {
  const { image, snapshots: table } = check
  const { header, geometry } = image
  countReference(check, 0, geometry.clusterSize, HEADER)
  await countL1(check, l1Table(image, header.l1TableOffset), header.l1Size, HEADER)
  if (image.hasDataFile && table.count > 0) {
    const message = `ERROR ${table.count} snapshots in image with data file`
    found(check, 'snapshots-with-data-file', message, placeIn(snapshotTable(image)))
  }
  let index = 0
  for await (const { snapshots } of walkSnapshots(image))
    for (const snapshot of snapshots) await countSnapshot(check, snapshot, index++)
  table.isCounted = true
  for (const { offset, bytes } of table.ranges)
    if (!countReference(check, offset, bytes, HEADER)) table.isCounted = false
  countReference(check, header.refcountTableOffset, image.refcountTable.bytes.length, HEADER)
  const { luksHeader } = header.extensions
  if (luksHeader) countReference(check, luksHeader.offset, luksHeader.length, HEADER)
  await countBitmaps(check)
  await countRefblocks(check)
}

async function countSnapshot(check: Check, snapshot: Snapshot, index: number): Promise<void> {
  const { image } = check
  const { l1TableOffset, l1Size } = snapshot
  // Above 2^53-1 it may be rounded here, but is behind the end of every file.
  const offset = Number(l1TableOffset)
  const table = snapshotTable(image, snapshot)
  const refuse = (what: 'unaligned-table' | 'oversized-table', field: string, why: string): void => {
    const called = `${decodeName(snapshot.id)} (${decodeName(snapshot.name)})`
    const message = check.fixErrors
      ? `Discarding snapshot ${called} ${field}: L1 table is ${why}`
      : `ERROR snapshot ${called} ${field}: L1 table is ${why}; snapshot table entry corrupted`
    const place = placeIn(table, index, offset, l1Size * 8)
    // A repair drops the entry at its end; QEMU's keeps it, and never gets rid of the error.
    check.snapshots.lost.add(index)
    found(check, what, message, { ...place, ...(check.fixErrors && { repaired: true }) })
  }
  if (l1TableOffset % BigInt(image.geometry.clusterSize) !== 0n)
    refuse('unaligned-table', `l1_offset=0x${l1TableOffset.toString(16)}`, 'not cluster aligned')
  else if (l1Size * 8 > MAX_L1_BYTES) refuse('oversized-table', `l1_size=0x${hex(l1Size)}`, 'too large')
  else await countL1(check, l1Table(image, offset, snapshot), l1Size, table, index)
}

/** Counts an L1 table, to which the header or the entry at `index` of the snapshot table refers. */
async function countL1(
  check: Check,
  l1: Table,
  entries: number,
  parent: Table,
  index?: number,
): Promise<void> {
  for await (const { view, first } of piecesOf(check, l1, entries, 'check_refcounts_l1', parent, index))
    await countL1Piece(check, l1, view, first)
}

/** Bytes of a table that are read at once: it may be large. */
const PIECE = 65536

/** Whether no reference to the cluster at a host offset was found so far. */
const isUnknown = ({ image, references }: Check, offset: number): boolean =>
  references.get(Math.floor(offset / image.geometry.clusterSize)) === 0

/** Entries of a table. */
interface Piece {
  readonly view: DataView
  /** Index of the first one. */
  readonly first: number
}

/** Counts a table of 64-bit words, and yields it piece by piece. The entry at `index` of `parent` refers to it. */
async function* piecesOf(
  check: Check,
  { offset }: Table,
  entries: number,
  where: string,
  parent: Table,
  index?: number,
): AsyncGenerator<Piece> {
  if (entries === 0) return
  const isNew = isUnknown(check, offset)
  let isEmpty = true
  countReference(check, offset, entries * 8, parent, index)
  for (let done = 0; done < entries * 8; done += PIECE) {
    const piece = new Uint8Array(Math.min(PIECE, entries * 8 - done))
    await readTable(check, offset + done, piece, where, parent, index)
    isEmpty &&= isZero(piece)
    yield { view: viewOf(piece), first: done / 8 }
  }
  countTable(check, entries, isNew && !isEmpty)
}

async function countL1Piece(check: Check, l1: Table, view: DataView, first: number): Promise<void> {
  const { image } = check
  const active = !l1.snapshot
  const { clusterSize, l2Entries } = image.geometry
  const readable = readableTables(check, view)
  const reader = new TableReader({
    file: image.file,
    offsets: readable.map((i) => hostOffsetOf(view.getUint32(i * 8), view.getUint32(i * 8 + 4))),
    size: clusterSize,
    // A repair changes tables, perhaps one that comes up again.
    ahead: !check.fixErrors,
  })
  // Those of the active table are expected since the check began.
  if (!active) check.progress.expect(readable.length)
  const drain = (): Promise<void> => reader.drain()
  let read = 0
  for (let i = 0; i < view.byteLength / 8; i++) {
    const hi = view.getUint32(i * 8)
    const lo = view.getUint32(i * 8 + 4)
    if (hi === 0 && lo === 0) continue
    if ((hi & L1_RESERVED_HI) !== 0 || (lo & L1_RESERVED_LO) !== 0) {
      const message = `ERROR found L1 entry with reserved bits set: ${hexWord(hi, lo)}`
      found(check, 'reserved-bits', message, wordAt(l1, first + i))
    }
    const l2Offset = hostOffsetOf(hi, lo)
    if (active && (hi & COPIED_HI) === 0) check.isAllCopied = false
    const isNew = isUnknown(check, l2Offset)
    countReference(check, l2Offset, clusterSize, l1, first + i)
    const details = (): FindingDetails => placeIn(l1, first + i, l2Offset, clusterSize)
    if (l2Offset % clusterSize !== 0) {
      const message = `ERROR l2_offset=${hex(l2Offset)}: Table is not cluster aligned; L1 entry corrupted`
      found(check, 'unaligned-table', message, details())
    }
    if (readable[read] !== i) continue
    const held = check.progress.next(drain)
    if (held) await held
    const bytes = await whole(check, 'check_refcounts_l2', details, () => reader.read(read++))
    countTable(check, l2Entries, isNew && !isZero(bytes), reader.together)
    const turning = pause(l2Entries / ENTRIES_OF_UNIT)
    if (turning) await turning
    await countL2(check, l2Table(image, l2Offset, l1, first + i), bytes)
  }
}

/**
 * Indexes of the L1 entries whose tables can hold anything: beyond the end of the file there are only zeroes.
 */
function readableTables({ image }: Check, l1: DataView): number[] {
  const end = Math.min(image.file.size, Number.MAX_SAFE_INTEGER - image.geometry.clusterSize)
  const readable: number[] = []
  for (let i = 0; i < l1.byteLength / 8; i++) {
    const [hi, lo] = [l1.getUint32(i * 8), l1.getUint32(i * 8 + 4)]
    if ((hi !== 0 || lo !== 0) && hostOffsetOf(hi, lo) < end) readable.push(i)
  }
  return readable
}

/** Where a 64-bit entry is that is wrong in itself. */
const wordAt = (table: Table, index: number): FindingDetails =>
  placeIn(table, index, table.offset + index * 8, 8)

async function readTable(
  check: Check,
  offset: number,
  into: Uint8Array,
  where: string,
  parent: Table,
  index?: number,
): Promise<void> {
  // No file reaches that far, and beyond its end there are zeroes.
  if (offset > Number.MAX_SAFE_INTEGER - into.length) return
  const details = (): FindingDetails => placeIn(parent, index, offset, into.length)
  await whole(check, where, details, () => check.image.file.read(offset, into))
}

/** Reads something without which the check cannot continue. */
async function whole<T>(
  check: Check,
  where: string,
  details: () => FindingDetails,
  read: () => Promise<T>,
): Promise<T> {
  try {
    return await read()
  } catch (error) {
    found(check, 'unreadable-table', `ERROR: I/O error in ${where}`, details())
    throw error
  }
}

/** Counts bitmap directory, tables and data, if the autoclear bit says that they are valid. */
async function countBitmaps(check: Check): Promise<void> {
  const { image } = check
  const { clusterSize } = image.geometry
  const { bitmaps } = image.header.extensions
  if (!bitmaps || (image.header.autoclear & Autoclear.bitmaps) === 0n) return
  const entries = await readBitmapDirectory(check, bitmaps)
  if (!entries) return
  countReference(check, bitmaps.directoryOffset, bitmaps.directorySize, HEADER)
  const directory: Table = { structure: 'bitmap-directory', offset: bitmaps.directoryOffset }
  for (const [number, bitmap] of entries.entries()) {
    const table: Table = { structure: 'bitmap-table', offset: bitmap.tableOffset }
    const pieces = piecesOf(check, table, bitmap.tableSize, 'check_bitmaps', directory, number)
    for await (const { view, first } of pieces) {
      for (let at = 0; at < view.byteLength; at += 8) {
        const index = first + at / 8
        const cluster = bitmapCluster(view.getUint32(at), view.getUint32(at + 4), clusterSize)
        if (!cluster) {
          const message = `ERROR entry ${index} of the table of bitmap '${bitmap.name}' is invalid`
          found(check, 'wrong-bitmap-entry', message, { ...wordAt(table, index), silent: true })
        } else if (cluster.kind === 'data')
          countReference(check, cluster.hostOffset, clusterSize, table, index)
      }
    }
  }
}

/**
 * Reads the directory. What a broken one refers to is not known: a complete repair drops the bitmaps, and frees their
 * clusters.
 *
 * @returns undefined if it is broken
 * @throws BlockError EIO if only leaks are to be repaired: clusters of bitmaps would be taken for some
 */
async function readBitmapDirectory(
  check: Check,
  { directoryOffset, directorySize, nbBitmaps }: BitmapsExtension,
): Promise<BitmapEntry[] | undefined> {
  const { image, fixErrors, fixLeaks, result } = check
  const { clusterSize } = image.geometry
  const isInside = directoryOffset + directorySize <= alignUp(image.file.size, clusterSize)
  try {
    if (!isInside) throw new BlockError('EINVAL', 'Failed to read bitmap directory')
    const bytes = new Uint8Array(directorySize)
    await readTable(check, directoryOffset, bytes, 'check_bitmaps', HEADER)
    return parseBitmapDirectory(bytes, { clusterSize, size: image.size, nbBitmaps })
  } catch (error) {
    if (!isBlockError(error, 'EINVAL')) throw error
    const place = { ...placeIn(HEADER, undefined, directoryOffset, directorySize), repaired: fixErrors }
    const what = `${fixErrors ? 'Dropping bitmaps' : 'ERROR'}: ${messageOf(error)}`
    found(check, 'wrong-bitmap-directory', what, place)
  }
  if (fixErrors) {
    const { bitmaps: _, ...extensions } = image.header.extensions
    // First they do not count any more: a write that drops the extension may be torn.
    await image.headerWriter.change({ autoclear: image.header.autoclear & ~Autoclear.bitmaps })
    await image.headerWriter.rewrite({ extensions })
    result.corruptions--
    result.corruptionsFixed++
  } else if (fixLeaks)
    throw new BlockError('EIO', 'the bitmap directory has to be repaired, which repairs more than leaks', {
      node: image.settings.nodeName,
    })
  return undefined
}

async function countRefblocks(check: Check): Promise<void> {
  const { image, references } = check
  const { clusterSize } = image.geometry
  const { view } = image.refcountTable
  const table: Table = { structure: 'refcount-table', offset: image.header.refcountTableOffset }
  for (let i = 0; i < view.byteLength / 8; i++) {
    const hi = view.getUint32(i * 8)
    const lo = view.getUint32(i * 8 + 4)
    if (hi === 0 && lo === 0) continue
    const turning = pause()
    if (turning) await turning
    const offset = refblockOffset(hi, lo)
    const refuse = (what: FindingWord, why: string, place = placeIn(table, i, offset, clusterSize)): void => {
      found(check, what, `ERROR refcount ${why}`, place)
      check.rebuild = true
    }
    if ((lo & REFCOUNT_TABLE_RESERVED_LO) !== 0) {
      refuse('reserved-bits', `table entry ${i} has reserved bits set`, wordAt(table, i))
    } else if (offset % clusterSize !== 0) {
      refuse('unaligned-table', `block ${i} is not cluster aligned; refcount table entry corrupted`)
    } else if (offset / clusterSize >= references.clusters) {
      await refblockOutside(check, i, offset, table)
    } else {
      countReference(check, offset, clusterSize, table, i)
      const count = references.get(offset / clusterSize)
      if (count !== 1) refuse('shared-cluster', `block ${i} refcount=${decimal(count)}`)
    }
  }
}

/** Handles a block beyond the end of the file: a repair grows the file, and the block holds zeroes. */
async function refblockOutside(check: Check, index: number, offset: number, table: Table): Promise<void> {
  const { image, result, references, fixErrors } = check
  const { clusterSize } = image.geometry
  const details = placeIn(table, index, offset, clusterSize)
  const message = `${fixErrors ? 'Repairing' : 'ERROR'} refcount block ${index} is outside image`
  found(check, 'reference-outside-file', message, { ...details, repaired: fixErrors })
  if (!fixErrors) return
  try {
    await image.file.truncate(offset + clusterSize, { exact: false })
  } catch (error) {
    check.rebuild = true
    // The rebuild that follows makes a structure without this block.
    check.report(checkFinding('repair-failed', `ERROR could not resize image: ${errorText(error)}`, details))
    return
  }
  references.clusters = Math.max(references.clusters, divUp(image.file.size, clusterSize))
  result.corruptions--
  result.corruptionsFixed++
  countReference(check, offset, clusterSize, table, index)
}
