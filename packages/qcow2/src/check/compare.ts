/** Compares the refcounts with the counted references. */

import { checkFinding } from '@vmblock/block-core/check'
import { isZero, pause } from '@vmblock/block-core/driver'
import { decimal } from '../format/decimal.ts'
import type { Image } from '../image/image.ts'
import { refblockOffset, refcountTableEntries } from '../refcounts/refcounts.ts'
import { countedClusters, setRefcount } from '../refcounts/repair-refcounts.ts'
import { type Check, countDifferences, countTable, ENTRIES_OF_UNIT } from './check-state.ts'
import { TableReader } from './table-reader.ts'
import { placeIn, type Table } from './tables.ts'

/** Which differences a comparison may repair. */
export interface Repairs {
  readonly errors: boolean
  readonly leaks: boolean
}

/**
 * Compares every cluster's refcount with its references.
 *
 * @returns the highest cluster in use by refcount or by reference
 */
export async function compareRefcounts(check: Check, repairs: Repairs): Promise<number> {
  const { image, references } = check
  const { refblockEntries, clusterSize } = image.geometry
  let highest = 0
  check.stored.forget()
  const indexes = blocksToCompare(check)
  const isReadable = (offset: number): boolean =>
    offset % clusterSize === 0 && offset <= Number.MAX_SAFE_INTEGER - clusterSize
  const offsets = indexes.map((index) => refblockOffset(image, index))
  const readable = offsets.filter((offset) => offset !== 0 && isReadable(offset))
  const isRepair = repairs.errors || repairs.leaks
  const reader = new TableReader({ file: image.file, offsets: readable, size: clusterSize, ahead: !isRepair })
  const drain = (): Promise<void> => reader.drain()
  let read = 0
  for (const [i, index] of indexes.entries()) {
    const held = check.progress.next(drain)
    if (held) await held
    const start = index * refblockEntries
    const stop = Math.min(refblockEntries, references.clusters - start)
    const offset = offsets[i]!
    // Misplaced blocks were reported by the walk, and have no refcounts to compare.
    const stored =
      offset === 0
        ? undefined
        : isReadable(offset)
          ? await reader.read(read++).catch(() => 'unreadable' as const)
          : 'unreadable'
    if (stored === 'unreadable') {
      await unreadable(check, offset, start, stop)
      continue
    }
    if (stored) {
      const isPaid = references.get(offset / clusterSize) === 1 && !isZero(stored)
      countTable(check, clusterSize / 8, isPaid, reader.together)
    }
    const counted = references.block(index)
    const turning = pause(refblockEntries / ENTRIES_OF_UNIT)
    if (turning) await turning
    for (const at of differences(image, stop, stored, counted)) {
      const refcount = stored ? image.refcounts.get(stored, at) : 0
      const reference = counted ? image.refcounts.get(counted, at) : 0
      if (refcount === reference) continue
      await resolveDifference(check, repairs, start + at, refcount, reference)
      const turning = pause()
      if (turning) await turning
    }
    const last = lastInUse(image, stop, stored, counted)
    if (last >= 0) highest = start + last
  }
  return highest
}

/** @param block host offset of the refcount block, in bytes */
async function unreadable(check: Check, block: number, start: number, stop: number): Promise<void> {
  const { clusterSize } = check.image.geometry
  const table: Table = { structure: 'refcount-block', offset: block }
  countDifferences(check, stop)
  for (let i = 0; i < stop; i++) {
    const turning = pause()
    if (turning) await turning
    const message = `Can't get refcount for cluster ${start + i}: Input/output error`
    const place = placeIn(table, i, (start + i) * clusterSize, clusterSize)
    check.report(checkFinding('unreadable-refcount', message, place))
    check.stored.differs(start + i, undefined)
  }
  check.result.checkErrors += stop
}

/** Refcounts that are compared together: groups that are equal take little time. */
const GROUP = 64

const wordsOf = (bytes: Uint8Array | undefined): Uint32Array | undefined =>
  bytes && new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)

/** Indexes below `stop` of all refcounts in groups that differ. */
function* differences(
  { geometry }: Image,
  stop: number,
  stored: Uint8Array | undefined,
  counted: Uint8Array | undefined,
): Generator<number> {
  const [a, b] = [wordsOf(stored), wordsOf(counted)]
  const wordsOfGroup = (GROUP * geometry.refcountBits) / 32
  for (let group = 0; group * GROUP < stop; group++) {
    let isSame = true
    for (let at = group * wordsOfGroup; at < (group + 1) * wordsOfGroup; at++)
      if ((a ? a[at]! : 0) !== (b ? b[at]! : 0)) isSame = false
    if (isSame) continue
    for (let i = group * GROUP; i < Math.min((group + 1) * GROUP, stop); i++) yield i
  }
}

/** The last index below `stop` that is not zero in one of the blocks; -1 if there is none. */
function lastInUse(
  { geometry, refcounts }: Image,
  stop: number,
  stored: Uint8Array | undefined,
  counted: Uint8Array | undefined,
): number {
  const [a, b] = [wordsOf(stored), wordsOf(counted)]
  const perWord = 32 / geometry.refcountBits
  let word = Math.ceil(stop / perWord)
  while (word > 0 && (a ? a[word - 1] : 0) === 0 && (b ? b[word - 1] : 0) === 0) word--
  let i = Math.min(stop, Math.ceil(word * perWord)) - 1
  while (
    i >= 0 &&
    (!stored || refcounts.get(stored, i) === 0) &&
    (!counted || refcounts.get(counted, i) === 0)
  )
    i--
  return i
}

/**
 * Indexes of the refcount blocks that exist on disk or have counted references, in order. Other ranges are
 * not walked: a file may claim any length.
 */
function blocksToCompare({ image, references }: Check): number[] {
  const indexes = new Set(references.blockIndexes)
  const blocks = Math.min(
    refcountTableEntries(image),
    Math.ceil(references.clusters / image.geometry.refblockEntries),
  )
  for (let index = 0; index < blocks; index++) if (refblockOffset(image, index) !== 0) indexes.add(index)
  return [...indexes].sort((a, b) => a - b)
}

async function resolveDifference(
  check: Check,
  repairs: Repairs,
  cluster: number,
  refcount: number,
  reference: number,
): Promise<void> {
  const { result, stored } = check
  countDifferences(check, 1)
  // A used cluster with refcount 0 is never repaired in place: the repair itself may allocate that cluster.
  if (refcount === 0) check.rebuild = true
  const isLeak = refcount > reference
  const repairable = refcount !== 0 && (isLeak ? repairs.leaks : repairs.errors)
  const problem = isLeak ? 'Leaked' : 'ERROR'
  const text = `cluster ${cluster} refcount=${decimal(refcount)} reference=${reference}`
  const { clusterSize } = check.image.geometry
  const finding = checkFinding(
    isLeak ? 'leaked-cluster' : 'refcount-too-low',
    `${repairable ? 'Repairing' : problem} ${text}`,
    { offset: cluster * clusterSize, bytes: clusterSize, repaired: repairable },
  )
  check.report(finding)
  if (repairable) {
    if (await repairRefcount(check.image, cluster, reference)) {
      if (isLeak) result.leaksFixed++
      else result.corruptionsFixed++
      return
    }
    check.report({ ...finding, message: `${problem} ${text}`, repaired: false, silent: true })
  }
  stored.differs(cluster, refcount)
  if (isLeak) result.leaks++
  else result.corruptions++
}

/** Stores a refcount in a block that exists. @returns whether it worked */
async function repairRefcount(image: Image, cluster: number, value: number): Promise<boolean> {
  try {
    await setRefcount(image, cluster, value)
    if (image.refblocks.isCrowded) await image.refblocks.writeBack()
    return true
  } catch {
    return false
  }
}

/** Refcount blocks that {@link freeBehindEnd} examines: a crash leaves refcounts of the next clusters. */
const BLOCKS_BEHIND = 2

/**
 * Sets the refcounts of clusters behind the end of the file to 0. A crash leaves them when the refcounts of
 * new clusters reached the disk and their data did not. No check counts them (block/qcow2-refcount.c stops at
 * the end of the file), and they would be leaks as soon as the file grows. Nothing may refer to them: the
 * image was found consistent.
 */
export async function freeBehindEnd({ image, references }: Check): Promise<void> {
  const { refblockEntries, clusterSize } = image.geometry
  const first = Math.floor(references.clusters / refblockEntries)
  for (let index = first; index < first + BLOCKS_BEHIND; index++) {
    const block = refblockOffset(image, index)
    if (block === 0 || block % clusterSize !== 0) continue
    const end = (index + 1) * refblockEntries
    const start = Math.max(index * refblockEntries, references.clusters)
    for await (const cluster of countedClusters(image, start, end)) await repairRefcount(image, cluster, 0)
  }
}
