/** The walk of a check: everything that refers to host clusters, and what is wrong with it on the way. */
import { alignUp, BlockError, divUp, errorText, viewOf } from '@vmblock/block-core'
import { bitmapCluster, parseBitmapDirectory } from '../format/bitmap-layout.ts'
import { Autoclear } from '../format/features.ts'
import {
  ClusterKind,
  COPIED_HI,
  compressedExtent,
  extendedL2Kind,
  hostOffsetOf,
  L1_RESERVED_HI,
  L1_RESERVED_LO,
  L2_RESERVED_HI,
  L2_RESERVED_LO,
  l2Kind,
  REFCOUNT_TABLE_RESERVED_LO,
  refblockOffset,
  ZERO_LO,
} from '../format/l2-entry.ts'
import { MAX_L1_BYTES } from '../format/limits.ts'
import type { Snapshot } from '../format/snapshot-layout.ts'
import { decimal } from '../format/words.ts'
import { Metadata } from '../overlap.ts'
import { readSnapshotTable, type SnapshotList } from '../snapshots.ts'
import { type Check, countReference, hex, hexWord } from './references.ts'

/** Counts all references. Stops with an error only where the file cannot be read. */
export async function countReferences(
  check: Check,
  snapshots: readonly Snapshot[],
  snapshotBytes: number,
): Promise<void> {
  const { image, result } = check
  const { header, geometry } = image
  countReference(check, 0, geometry.clusterSize)
  await countL1(check, header.l1TableOffset, header.l1Size, true)
  if (image.hasDataFile && snapshots.length > 0) {
    check.report(`ERROR ${snapshots.length} snapshots in image with data file`)
    result.corruptions++
  }
  for (const { id, name, l1TableOffset, l1Size } of snapshots) {
    if (l1TableOffset % geometry.clusterSize !== 0) {
      check.report(
        `ERROR snapshot ${id} (${name}) l1_offset=0x${hex(l1TableOffset)}: L1 table is not cluster aligned; snapshot table entry corrupted`,
      )
      result.corruptions++
    } else if (l1Size * 8 > MAX_L1_BYTES) {
      check.report(
        `ERROR snapshot ${id} (${name}) l1_size=0x${hex(l1Size)}: L1 table is too large; snapshot table entry corrupted`,
      )
      result.corruptions++
    } else {
      await countL1(check, l1TableOffset, l1Size, false)
    }
  }
  if (snapshotBytes > 0) countReference(check, header.snapshotsOffset, snapshotBytes)
  countReference(check, header.refcountTableOffset, image.refcountTable.bytes.length)
  const { luksHeader } = header.extensions
  if (luksHeader) countReference(check, luksHeader.offset, luksHeader.length)
  await countBitmaps(check)
  await countRefblocks(check)
}

/** Reads the snapshot table. What is wrong with it is reported; what can be read is returned. */
export async function readSnapshots(check: Check): Promise<SnapshotList> {
  const { image, result } = check
  try {
    return await readSnapshotTable(image)
  } catch (error) {
    check.report(
      `ERROR failed to read the snapshot table: ${error instanceof Error ? error.message : errorText(error)}`,
    )
    result.checkErrors++
    throw error
  }
}

async function countL1(check: Check, offset: number, entries: number, active: boolean): Promise<void> {
  const { image, result } = check
  const { clusterSize } = image.geometry
  if (entries === 0) return
  // No two tables lie in the same place, except in images that were made to keep a check busy for days.
  const isRepeated = check.references.get(Math.floor(offset / clusterSize)) > 0
  if (isRepeated) repeat(check, entries)
  const seen = new Set<number>()
  countReference(check, offset, entries * 8)
  const table = new Uint8Array(entries * 8)
  await readTable(check, offset, table, 'check_refcounts_l1')
  const view = viewOf(table)
  for (let i = 0; i < entries; i++) {
    const hi = view.getUint32(i * 8)
    const lo = view.getUint32(i * 8 + 4)
    if (hi === 0 && lo === 0) continue
    if ((hi & L1_RESERVED_HI) !== 0 || (lo & L1_RESERVED_LO) !== 0) {
      check.report(`ERROR found L1 entry with reserved bits set: ${hexWord(hi, lo)}`)
      result.corruptions++
    }
    const l2Offset = hostOffsetOf(hi, lo)
    countReference(check, l2Offset, clusterSize)
    if (l2Offset % clusterSize !== 0) {
      check.report(`ERROR l2_offset=${hex(l2Offset)}: Table is not cluster aligned; L1 entry corrupted`)
      result.corruptions++
    }
    if (isRepeated || seen.has(l2Offset)) repeat(check, image.geometry.l2Entries)
    seen.add(l2Offset)
    await countL2(check, l2Offset, active)
  }
}

/** What reading a table costs, in entries. */
const READING = 4096

/** Takes entries that are looked at again from what a check may spend on that. @throws BlockError EIO */
function repeat(check: Check, entries: number): void {
  check.repeatsLeft -= entries + READING
  if (check.repeatsLeft >= 0) return
  check.report('ERROR: tables of the image overlap too often to be checked')
  check.result.checkErrors++
  throw new BlockError('EIO', 'tables of the image overlap too often to be checked', {
    node: check.image.settings.nodeName,
  })
}

async function readTable(check: Check, offset: number, into: Uint8Array, where: string): Promise<void> {
  // No file reaches so far, and beyond its end there are zeroes.
  if (offset > Number.MAX_SAFE_INTEGER - into.length) return
  try {
    await check.image.file.read(offset, into)
  } catch (error) {
    check.report(`ERROR: I/O error in ${where}`)
    check.result.checkErrors++
    throw error
  }
}

/** One entry of the L2 table that is being walked. */
interface Entry {
  readonly index: number
  readonly hi: number
  readonly lo: number
  readonly zeroes: number
  readonly allocated: number
  /** Host bytes. */
  readonly tableOffset: number
}

async function countL2(check: Check, tableOffset: number, active: boolean): Promise<void> {
  const { image, result } = check
  const { clusterSize, l2EntrySize, l2Entries, clusterBits } = image.geometry
  // There are zeroes only.
  if (tableOffset >= image.file.size) return
  const table = new Uint8Array(clusterSize)
  await readTable(check, tableOffset, table, 'check_refcounts_l2')
  const view = viewOf(table)
  const fixed: number[] = []
  let expected = 0
  for (let index = 0; index < l2Entries; index++) {
    const at = index * l2EntrySize
    const hi = view.getUint32(at)
    const lo = view.getUint32(at + 4)
    const zeroes = image.extendedL2 ? view.getUint32(at + 8) : 0
    const allocated = image.extendedL2 ? view.getUint32(at + 12) : 0
    if (hi === 0 && lo === 0 && zeroes === 0 && allocated === 0) continue
    const entry: Entry = { index, hi, lo, zeroes, allocated, tableOffset }
    const kind = image.extendedL2
      ? extendedL2Kind(hi, lo, image.hasDataFile)
      : l2Kind(hi, lo, image.hasDataFile)
    if (kind !== ClusterKind.compressed) checkReserved(check, entry)
    switch (kind) {
      case ClusterKind.compressed: {
        if (!checkCompressed(check, entry)) break
        const extent = compressedExtent(hi & ~COPIED_HI, lo, clusterBits)
        countReference(check, extent.hostOffset, extent.bytes)
        if (active) {
          result.allocatedClusters!++
          result.compressedClusters!++
          result.fragmentedClusters!++
        }
        break
      }
      case ClusterKind.normal:
      case ClusterKind.zeroAlloc: {
        const offset = hostOffsetOf(hi, lo)
        if (!(await checkAllocated(check, entry, offset))) {
          fixed.push(index)
          break
        }
        if (active) {
          result.allocatedClusters!++
          if (expected !== 0 && offset !== expected) result.fragmentedClusters!++
          expected = offset + clusterSize
        }
        if (!image.hasDataFile) countReference(check, offset, clusterSize)
        break
      }
      default:
        if (allocated !== 0) {
          check.report('ERROR: Unallocated cluster has non-zero subcluster allocation map')
          result.corruptions++
        }
    }
  }
  if (fixed.length > 0) await writeFixed(check, tableOffset, table, fixed)
}

function checkReserved({ result, report }: Check, { hi, lo }: Entry): void {
  if ((hi & L2_RESERVED_HI) === 0 && (lo & L2_RESERVED_LO) === 0) return
  report(`ERROR found l2 entry with reserved bits set: ${hexWord(hi, lo)}`)
  result.corruptions++
}

/** @returns whether the cluster can be counted */
function checkCompressed(
  { image, result, report }: Check,
  { index, hi, lo, zeroes, allocated }: Entry,
): boolean {
  if ((hi & COPIED_HI) !== 0) {
    const { hostOffset } = compressedExtent(hi & ~COPIED_HI, lo, image.geometry.clusterBits)
    report(`ERROR: coffset=0x${hex(hostOffset)}: copied flag must never be set for compressed clusters`)
    result.corruptions++
  }
  const word = hexWord((hi & ~COPIED_HI) >>> 0, lo)
  if (image.hasDataFile) {
    report(`ERROR compressed cluster ${index} with data file, entry=0x${word}`)
    result.corruptions++
    return false
  }
  if (zeroes !== 0 || allocated !== 0) {
    report(`ERROR compressed cluster ${index} with non-zero subcluster allocation bitmap, entry=0x${word}`)
    result.corruptions++
    return false
  }
  return true
}

/** @returns whether the cluster is to be counted; false: it has to become a zero cluster without a place */
async function checkAllocated(check: Check, entry: Entry, offset: number): Promise<boolean> {
  const { image, result } = check
  if ((entry.zeroes & entry.allocated) !== 0) {
    result.corruptions++
    check.report(`ERROR offset=${hex(offset)}: Allocated cluster has corrupted subcluster allocation bitmap`)
  }
  if (offset % image.geometry.clusterSize === 0) return true
  result.corruptions++
  const hasData = image.extendedL2 ? entry.allocated !== 0 : (entry.lo & ZERO_LO) === 0
  if (hasData) {
    check.report(`ERROR offset=${hex(offset)}: Data cluster is not properly aligned; L2 entry corrupted.`)
    return true
  }
  const verb = check.fixErrors ? 'Repairing' : 'ERROR'
  check.report(
    `${verb} offset=${hex(offset)}: Preallocated cluster is not properly aligned; L2 entry corrupted.`,
  )
  if (!check.fixErrors) return true
  try {
    await image.overlaps.guard(
      entry.tableOffset + entry.index * image.geometry.l2EntrySize,
      image.geometry.l2EntrySize,
      Metadata.activeL2 | Metadata.inactiveL2,
    )
  } catch {
    check.report('ERROR: Overlap check failed')
    result.checkErrors++
    return true
  }
  return false
}

/** Makes entries zero clusters without a place, in one write: there may be as many as a table has. */
async function writeFixed(
  { image, result, report }: Check,
  tableOffset: number,
  table: Uint8Array,
  fixed: readonly number[],
): Promise<void> {
  const { l2EntrySize } = image.geometry
  const view = viewOf(table)
  for (const index of fixed) {
    const at = index * l2EntrySize
    view.setUint32(at, 0)
    view.setUint32(at + 4, image.extendedL2 ? 0 : ZERO_LO)
    if (!image.extendedL2) continue
    view.setUint32(at + 8, (view.getUint32(at + 8) | view.getUint32(at + 12)) >>> 0)
    view.setUint32(at + 12, 0)
  }
  const [first, last] = [fixed[0]!, fixed[fixed.length - 1]!]
  try {
    await image.file.write(
      tableOffset + first * l2EntrySize,
      table.subarray(first * l2EntrySize, (last + 1) * l2EntrySize),
    )
    await image.file.flush()
  } catch (error) {
    report(`ERROR: Failed to overwrite L2 table entry: ${errorText(error)}`)
    result.checkErrors++
    return
  }
  image.l2Tables.clear()
  result.corruptions -= fixed.length
  result.corruptionsFixed += fixed.length
}

/** Bitmap directory, tables and data, if the image vouches for them. */
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
    countReference(check, tableOffset, tableSize * 8)
    const table = new Uint8Array(alignUp(tableSize * 8, 8))
    await readTable(check, tableOffset, table, 'check_bitmaps')
    const view = viewOf(table)
    for (let i = 0; i < tableSize; i++) {
      const cluster = bitmapCluster(view.getUint32(i * 8), view.getUint32(i * 8 + 4), clusterSize)
      if (!cluster) result.corruptions++
      else if (cluster.kind === 'data') countReference(check, cluster.hostOffset, clusterSize)
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

/** A block beyond the end of the file can be made to exist by growing the file: then it holds zeroes. */
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
