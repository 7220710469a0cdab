/** Counts the clusters that one L2 table refers to, and reports problems of its entries. */
import { type CheckReport, errorText, pause, viewOf } from '@vmblock/block-core/driver'
import {
  ClusterKind,
  COMPRESSED_HI,
  COPIED_HI,
  compressedExtent,
  hostOffsetOf,
  ZERO_LO,
} from '../format/l2-entry.ts'
import { Metadata } from '../format/metadata.ts'
import { L2_RESERVED_HI, L2_RESERVED_LO } from '../format/reserved-bits.ts'
import { clusterKindOf } from '../mapping/entries.ts'
import { type Check, countReference, hex, hexWord } from './check-state.ts'

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

/** The state of the walk through a table. */
interface Walk {
  /** Host offset at which the next cluster would not be fragmented; 0: any. */
  expected: number
  /** Indexes of entries to be rewritten. */
  readonly fixed: number[]
}

/** Counts the clusters that an L2 table refers to. `table` holds the bytes at host offset `tableOffset`. */
export async function countL2(
  check: Check,
  tableOffset: number,
  table: Uint8Array,
  active: boolean,
): Promise<void> {
  const { image } = check
  const { l2EntrySize, l2Entries } = image.geometry
  const view = viewOf(table)
  const walk: Walk = { expected: 0, fixed: [] }
  const isPlain = !image.extendedL2 && !image.hasDataFile
  const { size } = image.file
  for (let index = 0; index < l2Entries; index++) {
    const at = index * l2EntrySize
    const hi = view.getUint32(at)
    const lo = view.getUint32(at + 4)
    if (isPlain && countPlain(check, hi, lo, size, walk, active)) continue
    const zeroes = image.extendedL2 ? view.getUint32(at + 8) : 0
    const allocated = image.extendedL2 ? view.getUint32(at + 12) : 0
    if (hi === 0 && lo === 0 && zeroes === 0 && allocated === 0) continue
    // Each entry may cause a report.
    const turning = pause()
    if (turning) await turning
    const fixing = countEntry(check, { index, hi, lo, zeroes, allocated, tableOffset }, walk, active)
    if (fixing) await fixing
  }
  if (walk.fixed.length > 0) await writeFixed(check, tableOffset, table, walk.fixed)
}

/**
 * Counts an entry of the most common kinds: empty, or a cluster without problems.
 *
 * @returns whether it is one
 */
function countPlain(
  check: Check,
  hi: number,
  lo: number,
  fileSize: number,
  walk: Walk,
  active: boolean,
): boolean {
  if (hi === 0 && lo === 0) return true
  if ((hi & (L2_RESERVED_HI | COMPRESSED_HI)) !== 0 || (lo & (L2_RESERVED_LO | ZERO_LO)) !== 0) return false
  const { references, result } = check
  const { clusterSize } = check.image.geometry
  const offset = hostOffsetOf(hi, lo)
  if (offset === 0 || offset % clusterSize !== 0 || offset >= fileSize) return false
  if (!references.increment(offset / clusterSize)) return false
  if (!active) return true
  if ((hi & COPIED_HI) === 0) check.isAllCopied = false
  countAllocated(result, offset, clusterSize, walk)
  return true
}

function countAllocated(result: CheckReport, offset: number, clusterSize: number, walk: Walk): void {
  result.allocatedClusters!++
  if (walk.expected !== 0 && offset !== walk.expected) result.fragmentedClusters!++
  walk.expected = offset + clusterSize
}

/** Counts any other entry. @returns undefined, nothing to await, if there is no problem */
function countEntry(check: Check, entry: Entry, walk: Walk, active: boolean): Promise<void> | undefined {
  const { image, result } = check
  const { hi, lo } = entry
  const kind = clusterKindOf(image, hi, lo)
  if (kind !== ClusterKind.compressed) checkReserved(check, entry)
  switch (kind) {
    case ClusterKind.compressed: {
      if (!checkCompressed(check, entry)) return undefined
      const extent = compressedExtent(hi & ~COPIED_HI, lo, image.geometry.clusterBits)
      countReference(check, extent.hostOffset, extent.bytes)
      if (active) {
        result.allocatedClusters!++
        result.compressedClusters!++
        result.fragmentedClusters!++
      }
      return undefined
    }
    case ClusterKind.normal:
    case ClusterKind.zeroAlloc:
      if (active && (hi & COPIED_HI) === 0) check.isAllCopied = false
      return countCluster(check, entry, walk, active)
    default:
      if (entry.allocated !== 0) {
        check.report('ERROR: Unallocated cluster has non-zero subcluster allocation map')
        result.corruptions++
      }
      return undefined
  }
}

function countCluster(check: Check, entry: Entry, walk: Walk, active: boolean): Promise<void> | undefined {
  const { image, result } = check
  const { clusterSize } = image.geometry
  const offset = hostOffsetOf(entry.hi, entry.lo)
  const count = (): undefined => {
    if (active) countAllocated(result, offset, clusterSize, walk)
    if (!image.hasDataFile) countReference(check, offset, clusterSize)
  }
  if (offset % clusterSize === 0 && (entry.zeroes & entry.allocated) === 0) return count()
  return checkAllocated(check, entry, offset).then((counts) => {
    if (counts) count()
    else walk.fixed.push(entry.index)
  })
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

/**
 * @returns whether to count the cluster; false: it must become a zero cluster without a host cluster
 */
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

/**
 * Turns entries into zero clusters without a host cluster, in one write: there may be as many as a table has.
 */
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
