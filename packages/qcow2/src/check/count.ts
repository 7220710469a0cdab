/** The walk of a check: counts everything that refers to host clusters, and reports problems on the way. */
import { divUp, errorText, isZero, pause, viewOf } from '@vmblock/block-core/driver'
import { bitmapCluster, parseBitmapDirectory } from '../format/bitmap-layout.ts'
import { decimal } from '../format/decimal.ts'
import { Autoclear } from '../format/features.ts'
import { COPIED_HI, hostOffsetOf, refblockOffset } from '../format/l2-entry.ts'
import { MAX_L1_BYTES } from '../format/limits.ts'
import { L1_RESERVED_HI, L1_RESERVED_LO, REFCOUNT_TABLE_RESERVED_LO } from '../format/reserved-bits.ts'
import type { Snapshot } from '../format/snapshot-layout.ts'
import { decodeName } from '../format/words.ts'
import { walkSnapshots } from '../snapshots/snapshots.ts'
import { type Check, countReference, countTable, ENTRIES_OF_UNIT, hex, hexWord } from './check-state.ts'
import { countL2 } from './count-l2.ts'
import { TableReader } from './table-reader.ts'

/** Counts all references. Fails only if the file cannot be read. */
export async function countReferences(check: Check): Promise<void> {
  const { image, result, snapshots: table } = check
  const { header, geometry } = image
  countReference(check, 0, geometry.clusterSize)
  await countL1(check, header.l1TableOffset, header.l1Size, true)
  if (image.hasDataFile && table.count > 0) {
    check.report(`ERROR ${table.count} snapshots in image with data file`)
    result.corruptions++
  }
  for await (const { snapshots } of walkSnapshots(image))
    for (const snapshot of snapshots) await countSnapshot(check, snapshot)
  table.isCounted = true
  for (const { offset, bytes } of table.ranges)
    if (!countReference(check, offset, bytes)) table.isCounted = false
  countReference(check, header.refcountTableOffset, image.refcountTable.bytes.length)
  const { luksHeader } = header.extensions
  if (luksHeader) countReference(check, luksHeader.offset, luksHeader.length)
  await countBitmaps(check)
  await countRefblocks(check)
}

async function countSnapshot(check: Check, snapshot: Snapshot): Promise<void> {
  const { image, result } = check
  const { l1TableOffset, l1Size } = snapshot
  const called = (): string => `${decodeName(snapshot.id)} (${decodeName(snapshot.name)})`
  if (l1TableOffset % BigInt(image.geometry.clusterSize) !== 0n) {
    check.report(
      `ERROR snapshot ${called()} l1_offset=0x${l1TableOffset.toString(16)}: L1 table is not cluster aligned; snapshot table entry corrupted`,
    )
    result.corruptions++
  } else if (l1Size * 8 > MAX_L1_BYTES) {
    check.report(
      `ERROR snapshot ${called()} l1_size=0x${hex(l1Size)}: L1 table is too large; snapshot table entry corrupted`,
    )
    result.corruptions++
  } else {
    // Above 2^53-1 it may be rounded here, but is behind the end of every file.
    await countL1(check, Number(l1TableOffset), l1Size, false)
  }
}

async function countL1(check: Check, offset: number, entries: number, active: boolean): Promise<void> {
  for await (const piece of piecesOf(check, offset, entries, 'check_refcounts_l1'))
    await countL1Piece(check, piece, active)
}

/** Bytes of a table that are read at once: it may be large. */
const PIECE = 65536

/** Whether no reference to the cluster at a host offset was found so far. */
const isUnknown = ({ image, references }: Check, offset: number): boolean =>
  references.get(Math.floor(offset / image.geometry.clusterSize)) === 0

/** Counts a table of 64-bit words, and yields it piece by piece. */
async function* piecesOf(
  check: Check,
  offset: number,
  entries: number,
  where: string,
): AsyncGenerator<DataView> {
  if (entries === 0) return
  const isNew = isUnknown(check, offset)
  let isEmpty = true
  countReference(check, offset, entries * 8)
  for (let done = 0; done < entries * 8; done += PIECE) {
    const piece = new Uint8Array(Math.min(PIECE, entries * 8 - done))
    await readTable(check, offset + done, piece, where)
    isEmpty &&= isZero(piece)
    yield viewOf(piece)
  }
  countTable(check, entries, isNew && !isEmpty)
}

async function countL1Piece(check: Check, view: DataView, active: boolean): Promise<void> {
  const { image, result } = check
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
      check.report(`ERROR found L1 entry with reserved bits set: ${hexWord(hi, lo)}`)
      result.corruptions++
    }
    const l2Offset = hostOffsetOf(hi, lo)
    if (active && (hi & COPIED_HI) === 0) check.isAllCopied = false
    const isNew = isUnknown(check, l2Offset)
    countReference(check, l2Offset, clusterSize)
    if (l2Offset % clusterSize !== 0) {
      check.report(`ERROR l2_offset=${hex(l2Offset)}: Table is not cluster aligned; L1 entry corrupted`)
      result.corruptions++
    }
    if (readable[read] !== i) continue
    const held = check.progress.next(drain)
    if (held) await held
    const bytes = await whole(check, 'check_refcounts_l2', () => reader.read(read++))
    countTable(check, l2Entries, isNew && !isZero(bytes))
    const turning = pause(l2Entries / ENTRIES_OF_UNIT)
    if (turning) await turning
    await countL2(check, l2Offset, bytes, active)
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

async function readTable(check: Check, offset: number, into: Uint8Array, where: string): Promise<void> {
  // No file reaches that far, and beyond its end there are zeroes.
  if (offset > Number.MAX_SAFE_INTEGER - into.length) return
  await whole(check, where, () => check.image.file.read(offset, into))
}

/** Reads something without which the check cannot continue. */
async function whole<T>(check: Check, where: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (error) {
    check.report(`ERROR: I/O error in ${where}`)
    check.result.checkErrors++
    throw error
  }
}

/** Counts bitmap directory, tables and data, if the autoclear bit says that they are valid. */
async function countBitmaps(check: Check): Promise<void> {
  const { image, result } = check
  const { clusterSize } = image.geometry
  const { bitmaps } = image.header.extensions
  if (!bitmaps || (image.header.autoclear & Autoclear.bitmaps) === 0n) return
  countReference(check, bitmaps.directoryOffset, bitmaps.directorySize)
  const directory = new Uint8Array(bitmaps.directorySize)
  await readTable(check, bitmaps.directoryOffset, directory, 'check_bitmaps')
  const context = { clusterSize, size: image.size, nbBitmaps: bitmaps.nbBitmaps }
  for (const { tableOffset, tableSize } of parseBitmapDirectory(directory, context)) {
    for await (const view of piecesOf(check, tableOffset, tableSize, 'check_bitmaps')) {
      for (let at = 0; at < view.byteLength; at += 8) {
        const cluster = bitmapCluster(view.getUint32(at), view.getUint32(at + 4), clusterSize)
        if (!cluster) result.corruptions++
        else if (cluster.kind === 'data') countReference(check, cluster.hostOffset, clusterSize)
      }
    }
  }
}

async function countRefblocks(check: Check): Promise<void> {
  const { image, result, references } = check
  const { clusterSize } = image.geometry
  const { view } = image.refcountTable
  for (let i = 0; i < view.byteLength / 8; i++) {
    const hi = view.getUint32(i * 8)
    const lo = view.getUint32(i * 8 + 4)
    if (hi === 0 && lo === 0) continue
    const turning = pause()
    if (turning) await turning
    const offset = refblockOffset(hi, lo)
    if ((lo & REFCOUNT_TABLE_RESERVED_LO) !== 0) {
      check.report(`ERROR refcount table entry ${i} has reserved bits set`)
      result.corruptions++
      check.rebuild = true
    } else if (offset % clusterSize !== 0) {
      check.report(`ERROR refcount block ${i} is not cluster aligned; refcount table entry corrupted`)
      result.corruptions++
      check.rebuild = true
    } else if (offset / clusterSize >= references.clusters) {
      await refblockOutside(check, i, offset)
    } else {
      countReference(check, offset, clusterSize)
      const count = references.get(offset / clusterSize)
      if (count !== 1) {
        check.report(`ERROR refcount block ${i} refcount=${decimal(count)}`)
        result.corruptions++
        check.rebuild = true
      }
    }
  }
}

/** Handles a block beyond the end of the file: a repair grows the file, and the block holds zeroes. */
async function refblockOutside(check: Check, index: number, offset: number): Promise<void> {
  const { image, result, references } = check
  const { clusterSize } = image.geometry
  result.corruptions++
  check.report(`${check.fixErrors ? 'Repairing' : 'ERROR'} refcount block ${index} is outside image`)
  if (!check.fixErrors) return
  try {
    await image.file.truncate(offset + clusterSize, { exact: false })
  } catch (error) {
    check.rebuild = true
    check.report(`ERROR could not resize image: ${errorText(error)}`)
    return
  }
  references.clusters = Math.max(references.clusters, divUp(image.file.size, clusterSize))
  result.corruptions--
  result.corruptionsFixed++
  countReference(check, offset, clusterSize)
}
