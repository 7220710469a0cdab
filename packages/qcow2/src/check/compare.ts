/** What the refcounts say against what was counted; and the COPIED flags against the refcounts. */
import { errorText, viewOf } from '@vmblock/block-core'
import { ClusterKind, COPIED_HI, extendedL2Kind, hostOffsetOf, l2Kind } from '../format/l2-entry.ts'
import { decimal } from '../format/words.ts'
import type { Image } from '../image.ts'
import { Metadata } from '../overlap.ts'
import { getRefcount, refblockOffset, refcountTableEntries } from '../refcounts.ts'
import { type Check, countDifferences, hexWord } from './references.ts'

/** Which differences a comparison may repair. */
export interface Repairs {
  readonly errors: boolean
  readonly leaks: boolean
}

/**
 * Compares every cluster's refcount with its references.
 *
 * @returns the highest cluster that is in use by either account
 */
export async function compareRefcounts(check: Check, repairs: Repairs): Promise<number> {
  const { image, references, result } = check
  const { refblockEntries } = image.geometry
  let highest = 0
  for (const index of blocksToCompare(check)) {
    const start = index * refblockEntries
    const counted = references.block(index)
    const stored = await readRefblock(check, index)
    const stop = Math.min(refblockEntries, references.clusters - start)
    if (stored === 'unreadable') {
      countDifferences(check, stop)
      for (let i = 0; i < stop; i++)
        check.report(`Can't get refcount for cluster ${start + i}: Input/output error`)
      result.checkErrors += stop
      continue
    }
    for (const i of clustersInUse(image, stop, stored, counted)) {
      const refcount = stored ? image.refcounts.get(stored, i) : 0
      const reference = counted ? image.refcounts.get(counted, i) : 0
      if (refcount > 0 || reference > 0) highest = start + i
      if (refcount !== reference) await settleDifference(check, repairs, start + i, refcount, reference)
    }
  }
  return highest
}

/** Refcounts that are looked at together, to pass over the zeroes in sparse blocks. */
const GROUP = 64

/** Indexes below `stop` around those that are not zero in both blocks, which begin their buffers. */
function* clustersInUse(
  { geometry }: Image,
  stop: number,
  stored: Uint8Array | undefined,
  counted: Uint8Array | undefined,
): Generator<number> {
  const words = (bytes: Uint8Array | undefined): Uint32Array | undefined =>
    bytes && new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
  const [a, b] = [words(stored), words(counted)]
  const wordsOfGroup = (GROUP * geometry.refcountBits) / 32
  for (let group = 0; group * GROUP < stop; group++) {
    let any = 0
    for (let at = group * wordsOfGroup; at < (group + 1) * wordsOfGroup; at++)
      any |= (a ? a[at]! : 0) | (b ? b[at]! : 0)
    if (any === 0) continue
    for (let i = group * GROUP; i < Math.min((group + 1) * GROUP, stop); i++) yield i
  }
}

/**
 * Indexes of the refcount blocks that exist by either account, in order. A file may claim any length: what is
 * in neither is not walked over.
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

/** The bytes of a refcount block; undefined where there is none. */
async function readRefblock(check: Check, index: number): Promise<Uint8Array | undefined | 'unreadable'> {
  const { image } = check
  const { clusterSize } = image.geometry
  const offset = refblockOffset(image, index)
  if (offset === 0) return undefined
  // Blocks out of place were reported by the walk, and have no refcounts to compare.
  if (offset % clusterSize !== 0 || offset > Number.MAX_SAFE_INTEGER) return 'unreadable'
  const bytes = new Uint8Array(clusterSize)
  try {
    await image.file.read(offset, bytes)
  } catch {
    return 'unreadable'
  }
  return bytes
}

async function settleDifference(
  check: Check,
  repairs: Repairs,
  cluster: number,
  refcount: number,
  reference: number,
): Promise<void> {
  const { result } = check
  countDifferences(check, 1)
  // A used cluster with refcount 0 is never repaired in place: repairing may allocate just that cluster.
  if (refcount === 0) check.rebuild = true
  const isLeak = refcount > reference
  const repairable = refcount !== 0 && (isLeak ? repairs.leaks : repairs.errors)
  const verb = repairable ? 'Repairing' : isLeak ? 'Leaked' : 'ERROR'
  check.report(`${verb} cluster ${cluster} refcount=${decimal(refcount)} reference=${reference}`)
  if (repairable && (await setRefcount(check.image, cluster, reference))) {
    if (isLeak) result.leaksFixed++
    else result.corruptionsFixed++
  } else if (isLeak) result.leaks++
  else result.corruptions++
}

/** Stores a refcount in a block that exists. @returns whether it worked */
async function setRefcount(image: Image, cluster: number, value: number): Promise<boolean> {
  const { refblockEntries, refcountBits } = image.geometry
  const { sliceSize } = image.refblocks
  const block = refblockOffset(image, Math.floor(cluster / refblockEntries))
  const index = cluster % refblockEntries
  const perSlice = (sliceSize * 8) / refcountBits
  const offset = block + Math.floor(index / perSlice) * sliceSize
  try {
    let table = image.refblocks.peek(offset)
    while (!table) {
      await image.refblocks.load(offset)
      table = image.refblocks.peek(offset)
    }
    const inSlice = index % perSlice
    image.refcounts.set(table.bytes, inSlice, value)
    image.refblocks.changed(
      table,
      Math.floor((inSlice * refcountBits) / 8),
      Math.ceil(((inSlice + 1) * refcountBits) / 8),
    )
    if (value === 0 && cluster < image.freeHint) image.freeHint = cluster
    if (image.refblocks.isCrowded) await image.refblocks.writeBack()
    return true
  } catch {
    return false
  }
}

/** Refcount blocks that {@link freeBehindEnd} looks at; a crash leaves refcounts of the clusters that come next. */
const BLOCKS_BEHIND = 2

/**
 * Lowers the refcounts of clusters behind the end of the file, which a crash leaves when the refcounts of new clusters
 * reached the disk and their data did not. No check counts them (block/qcow2-refcount.c ends with the file), and they
 * would be leaks as soon as the file grows. Nothing may refer to them: the image was found consistent.
 */
export async function freeBehindEnd(check: Check): Promise<void> {
  const { image, references } = check
  const { refblockEntries } = image.geometry
  const first = Math.floor(references.clusters / refblockEntries)
  for (let index = first; index < first + BLOCKS_BEHIND; index++) {
    const stored = await readRefblock(check, index)
    if (stored === undefined || stored === 'unreadable') continue
    const start = index * refblockEntries
    for (const i of clustersInUse(image, refblockEntries, stored, undefined))
      if (start + i >= references.clusters && image.refcounts.get(stored, i) !== 0)
        await setRefcount(image, start + i, 0)
  }
}

/** COPIED must be set exactly where the refcount is 1, in the active tables. */
export async function checkCopied(check: Check): Promise<void> {
  const { image, result } = check
  // With `leaks` alone, only when the refcounts are known to be right by now.
  const repair =
    check.fixErrors || (check.fixLeaks && result.checkErrors + result.corruptions + result.leaks === 0)
  const verb = repair ? 'Repairing' : 'ERROR'
  const { clusterSize } = image.geometry
  const { view, bytes } = image.l1
  for (let i = 0; i < bytes.length / 8; i++) {
    const hi = view.getUint32(i * 8)
    const lo = view.getUint32(i * 8 + 4)
    const l2Offset = hostOffsetOf(hi, lo)
    if (l2Offset === 0) continue
    const refcount = await tryRefcount(image, l2Offset)
    if (refcount === undefined) continue
    if ((refcount === 1) !== ((hi & COPIED_HI) !== 0)) {
      result.corruptions++
      check.report(
        `${verb} OFLAG_COPIED L2 cluster: l1_index=${i} l1_entry=${hexWord(hi, lo)} refcount=${refcount}`,
      )
      if (repair) {
        view.setUint32(i * 8, (refcount === 1 ? hi | COPIED_HI : hi & ~COPIED_HI) >>> 0)
        await counted(check, () => image.writeResident(image.l1, image.header.l1TableOffset, i * 8, 8))
        result.corruptions--
        result.corruptionsFixed++
      }
    }
    // A table that no file reaches was reported by the walk.
    if (l2Offset >= image.file.size) continue
    // Out of place it is looked at, but not written to: its bytes may be anybody's.
    await checkCopiedL2(check, l2Offset, repair && l2Offset % clusterSize === 0)
  }
}

async function checkCopiedL2(check: Check, l2Offset: number, repair: boolean): Promise<void> {
  const { image, result } = check
  const { clusterSize, l2EntrySize, l2Entries } = image.geometry
  const table = new Uint8Array(clusterSize)
  await counted(check, () => image.file.read(l2Offset, table), 'ERROR: Could not read L2 table')
  const view = viewOf(table)
  let changed = 0
  for (let index = 0; index < l2Entries; index++) {
    const at = index * l2EntrySize
    const hi = view.getUint32(at)
    const lo = view.getUint32(at + 4)
    if (hi === 0 && lo === 0) continue
    const kind = image.extendedL2
      ? extendedL2Kind(hi, lo, image.hasDataFile)
      : l2Kind(hi, lo, image.hasDataFile)
    if (kind !== ClusterKind.normal && kind !== ClusterKind.zeroAlloc) continue
    const refcount = image.hasDataFile ? 1 : await tryRefcount(image, hostOffsetOf(hi, lo))
    if (refcount === undefined || (refcount === 1) === ((hi & COPIED_HI) !== 0)) continue
    result.corruptions++
    check.report(
      `${repair ? 'Repairing' : 'ERROR'} OFLAG_COPIED data cluster: l2_entry=${hexWord(hi, lo)} refcount=${refcount}`,
    )
    if (!repair) continue
    view.setUint32(at, (refcount === 1 ? hi | COPIED_HI : hi & ~COPIED_HI) >>> 0)
    changed++
  }
  if (changed === 0) return
  await counted(
    check,
    async () => image.overlaps.guard(l2Offset, clusterSize, Metadata.activeL2),
    'ERROR: Could not write L2 table; metadata overlap check failed',
  )
  await counted(check, () => image.file.write(l2Offset, table), 'ERROR: Could not write L2 table')
  image.l2Tables.drop(l2Offset, clusterSize)
  result.corruptions -= changed
  result.corruptionsFixed += changed
}

/** Runs a step whose failure ends the check and counts as a check error. */
async function counted(check: Check, step: () => Promise<void>, what?: string): Promise<void> {
  try {
    await step()
  } catch (error) {
    if (what !== undefined) check.report(`${what}: ${errorText(error)}`)
    check.result.checkErrors++
    throw error
  }
}

/** The refcount of the cluster at a host offset; undefined where it cannot be read, which was reported before. */
async function tryRefcount(image: Image, offset: number): Promise<number | undefined> {
  const block = refblockOffset(
    image,
    Math.floor(offset / image.geometry.clusterSize / image.geometry.refblockEntries),
  )
  if (block % image.geometry.clusterSize !== 0) return undefined
  return getRefcount(image, Math.floor(offset / image.geometry.clusterSize)).catch(() => undefined)
}
