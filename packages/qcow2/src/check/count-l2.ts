/** Counts the clusters that one L2 table refers to, and reports problems of its entries. */

import { checkFinding } from '@vmblock/block-core/check'
import {
  type CheckReport,
  type FindingDetails,
  type FindingWord,
  pause,
  viewOf,
} from '@vmblock/block-core/driver'
import { errorText } from '@vmblock/block-core/late'
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
import { type Check, countReference, found, hex, hexWord } from './check-state.ts'
import { placeIn, type Table } from './tables.ts'

/** One entry of the L2 table that is being walked. */
interface Entry {
  readonly index: number
  readonly hi: number
  readonly lo: number
  readonly zeroes: number
  readonly allocated: number
  readonly table: Table
}

/** The state of the walk through a table. */
interface Walk {
  /** Host offset at which the next cluster would not be fragmented; 0: any. */
  expected: number
  /** Indexes of entries to be rewritten. */
  readonly fixed: number[]
}

/** Counts the clusters that an L2 table refers to. `bytes` is its content. */
export async function countL2(check: Check, table: Table, bytes: Uint8Array): Promise<void> {
  const { image } = check
  const active = !table.snapshot
  const { l2Entries } = image.geometry
  const view = viewOf(bytes)
  const walk: Walk = { expected: 0, fixed: [] }
  const isPlain = !image.extendedL2 && !image.hasDataFile
  const { size } = image.file
  for (let index = 0; index < l2Entries; index++) {
    const at = index * image.geometry.l2EntrySize
    const hi = view.getUint32(at)
    const lo = view.getUint32(at + 4)
    if (isPlain && countPlain(check, hi, lo, size, walk, active)) continue
    const zeroes = image.extendedL2 ? view.getUint32(at + 8) : 0
    const allocated = image.extendedL2 ? view.getUint32(at + 12) : 0
    if (hi === 0 && lo === 0 && zeroes === 0 && allocated === 0) continue
    // Each entry may cause a report.
    const turning = pause()
    if (turning) await turning
    const fixing = countEntry(check, { index, hi, lo, zeroes, allocated, table }, walk, active)
    if (fixing) await fixing
  }
  if (walk.fixed.length > 0) await writeFixed(check, table, bytes, walk.fixed)
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
      countReference(check, extent.hostOffset, extent.bytes, entry.table, entry.index)
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
        const message = 'ERROR: Unallocated cluster has non-zero subcluster allocation map'
        found(check, 'wrong-subclusters', message, entryItself(check, entry))
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
    if (!image.hasDataFile) countReference(check, offset, clusterSize, entry.table, entry.index)
  }
  if (offset % clusterSize === 0 && (entry.zeroes & entry.allocated) === 0) return count()
  return checkAllocated(check, entry, offset).then((counts) => {
    if (counts) count()
    else walk.fixed.push(entry.index)
  })
}

/** Where an entry is that is wrong in itself. */
function entryItself({ image }: Check, { table, index }: Entry): FindingDetails {
  const { l2EntrySize } = image.geometry
  return placeIn(table, index, table.offset + index * l2EntrySize, l2EntrySize)
}

function checkReserved(check: Check, entry: Entry): void {
  const { hi, lo } = entry
  if ((hi & L2_RESERVED_HI) === 0 && (lo & L2_RESERVED_LO) === 0) return
  const message = `ERROR found l2 entry with reserved bits set: ${hexWord(hi, lo)}`
  found(check, 'reserved-bits', message, entryItself(check, entry))
}

/** @returns whether the cluster can be counted */
function checkCompressed(check: Check, entry: Entry): boolean {
  const { image } = check
  const { index, hi, lo, zeroes, allocated } = entry
  if ((hi & COPIED_HI) !== 0) {
    const { hostOffset } = compressedExtent(hi & ~COPIED_HI, lo, image.geometry.clusterBits)
    const message = `ERROR: coffset=0x${hex(hostOffset)}: copied flag must never be set for compressed clusters`
    found(check, 'copied-flag-set', message, entryItself(check, entry))
  }
  const refuse = (what: FindingWord, why: string): false => {
    const word = hexWord((hi & ~COPIED_HI) >>> 0, lo)
    const message = `ERROR compressed cluster ${index} with ${why}, entry=0x${word}`
    found(check, what, message, entryItself(check, entry))
    return false
  }
  if (image.hasDataFile) return refuse('compressed-with-data-file', 'data file')
  if (zeroes !== 0 || allocated !== 0)
    return refuse('wrong-subclusters', 'non-zero subcluster allocation bitmap')
  return true
}

/**
 * @returns whether to count the cluster; false: it must become a zero cluster without a host cluster
 */
async function checkAllocated(check: Check, entry: Entry, offset: number): Promise<boolean> {
  const { image, fixErrors } = check
  const { clusterSize, l2EntrySize } = image.geometry
  const itself = entryItself(check, entry)
  if ((entry.zeroes & entry.allocated) !== 0) {
    const message = `ERROR offset=${hex(offset)}: Allocated cluster has corrupted subcluster allocation bitmap`
    found(check, 'wrong-subclusters', message, itself)
  }
  if (offset % clusterSize === 0) return true
  const hasData = image.extendedL2 ? entry.allocated !== 0 : (entry.lo & ZERO_LO) === 0
  if (hasData) {
    const message = `ERROR offset=${hex(offset)}: Data cluster is not properly aligned; L2 entry corrupted.`
    found(check, 'unaligned-cluster', message, { ...itself, offset, bytes: clusterSize })
    return true
  }
  reportPreallocation(check, entry, offset, { repaired: fixErrors })
  check.result.corruptions++
  if (!fixErrors) return true
  try {
    await image.overlaps.guard(itself.offset!, l2EntrySize, Metadata.activeL2 | Metadata.inactiveL2)
  } catch {
    found(check, 'repair-failed', 'ERROR: Overlap check failed', itself)
    reportPreallocation(check, entry, offset, NOT_REPAIRED)
    return true
  }
  return false
}

/** A repair that was told has failed. */
const NOT_REPAIRED = { repaired: false, silent: true } as const

function reportPreallocation(
  { image, report }: Check,
  { table, index }: Pick<Entry, 'table' | 'index'>,
  offset: number,
  state: { readonly repaired: boolean; readonly silent?: true },
): void {
  const message = `${state.repaired ? 'Repairing' : 'ERROR'} offset=${hex(offset)}: Preallocated cluster is not properly aligned; L2 entry corrupted.`
  const place = placeIn(table, index, offset, image.geometry.clusterSize)
  report(checkFinding('unaligned-preallocation', message, { ...place, ...state }))
}

/**
 * Turns entries into zero clusters without a host cluster, in one write: there may be as many as a table has.
 */
async function writeFixed(
  check: Check,
  table: Table,
  bytes: Uint8Array,
  fixed: readonly number[],
): Promise<void> {
  const { image, result } = check
  const { l2EntrySize } = image.geometry
  const [first, last] = [fixed[0]!, fixed[fixed.length - 1]!]
  const changed = bytes.slice(first * l2EntrySize, (last + 1) * l2EntrySize)
  const view = viewOf(changed)
  for (const index of fixed) {
    const at = (index - first) * l2EntrySize
    view.setUint32(at, 0)
    view.setUint32(at + 4, image.extendedL2 ? 0 : ZERO_LO)
    if (!image.extendedL2) continue
    view.setUint32(at + 8, (view.getUint32(at + 8) | view.getUint32(at + 12)) >>> 0)
    view.setUint32(at + 12, 0)
  }
  const offset = table.offset + first * l2EntrySize
  try {
    await image.file.write(offset, changed)
    await image.file.flush()
  } catch (error) {
    const message = `ERROR: Failed to overwrite L2 table entry: ${errorText(error)}`
    found(check, 'repair-failed', message, placeIn(table, undefined, offset, changed.length))
    const before = viewOf(bytes)
    for (const index of fixed) {
      const at = index * l2EntrySize
      const cluster = hostOffsetOf(before.getUint32(at), before.getUint32(at + 4))
      reportPreallocation(check, { table, index }, cluster, NOT_REPAIRED)
    }
    return
  }
  image.l2Tables.clear()
  result.corruptions -= fixed.length
  result.corruptionsFixed += fixed.length
}
