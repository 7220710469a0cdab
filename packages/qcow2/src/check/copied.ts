/** Checks the COPIED flags of the active tables against the refcounts. */
import { type FindingDetails, type FindingWord, pause, viewOf } from '@vmblock/block-core/driver'
import { errorText } from '@vmblock/block-core/late'
import { decimal } from '../format/decimal.ts'
import { ClusterKind, COPIED_HI, hostOffsetOf } from '../format/l2-entry.ts'
import { Metadata } from '../format/metadata.ts'
import { clusterKindOf } from '../mapping/entries.ts'
import { getRefcount, refblockOffset } from '../refcounts/refcounts.ts'
import { type Check, ENTRIES_OF_UNIT, found, hexWord } from './check-state.ts'
import { TableReader } from './table-reader.ts'
import { HEADER, l1Table, l2Table, placeIn, type Table } from './tables.ts'

/**
 * Whether the walk already found every flag right: all are set, and nothing is referred to twice. Then the
 * tables need not be read again.
 */
function areAllRight({ result, references, stored, isAllCopied }: Check): boolean {
  const isSound = result.corruptions + result.corruptionsFixed + result.checkErrors === 0
  return isSound && isAllCopied && stored.areAsCounted && references.highest <= 1
}

/** COPIED must be set exactly where the refcount is 1, in the active tables. */
export async function checkCopied(check: Check): Promise<void> {
  if (areAllRight(check)) return
  const { result } = check
  // With `leaks` alone, only if the refcounts are known to be right by now.
  const repair =
    check.fixErrors || (check.fixLeaks && result.checkErrors + result.corruptions + result.leaks === 0)
  const repaired = new RepairedEntries(check)
  const entries = check.image.l1.bytes.length / 8
  check.progress.expectTables(check.image)
  try {
    for (let first = 0; first < entries; first += TOGETHER)
      await checkCopiedL1(check, first, Math.min(first + TOGETHER, entries), repair && repaired)
  } finally {
    await repaired.write()
  }
}

/**
 * L1 entries whose tables are looked up together: the offsets for millions of entries would fill the memory.
 */
const TOGETHER = 8192

/**
 * Checks L1 entries [first, end) and their tables.
 *
 * @param repaired takes repaired entries; false: repairs nothing
 */
async function checkCopiedL1(
  check: Check,
  first: number,
  end: number,
  repaired: RepairedEntries | false,
): Promise<void> {
  const { image } = check
  const repair = repaired !== false
  const { clusterSize } = image.geometry
  const l1 = l1Table(image, image.header.l1TableOffset)
  const { view } = image.l1
  const offsetAt = (i: number): number => hostOffsetOf(view.getUint32(i * 8), view.getUint32(i * 8 + 4))
  // Tables beyond the end of the file were reported by the walk.
  const fileSize = image.file.size
  const offsets: number[] = []
  for (let i = first; i < end; i++) {
    const offset = offsetAt(i)
    if (offset !== 0 && offset < fileSize) offsets.push(offset)
  }
  const reader = new TableReader({ file: image.file, offsets, size: clusterSize, ahead: !repair })
  const drain = (): Promise<void> => reader.drain()
  let read = 0
  for (let i = first; i < end; i++) {
    const l2Offset = offsetAt(i)
    if (l2Offset === 0) continue
    const index = l2Offset < fileSize ? read++ : -1
    const known = refcountOf(check, l2Offset)
    const refcount = known instanceof Promise ? await known : known
    if (refcount === undefined) continue
    const hi = view.getUint32(i * 8)
    const lo = view.getUint32(i * 8 + 4)
    if ((refcount === 1) !== ((hi & COPIED_HI) !== 0)) {
      const what = `L2 cluster: l1_index=${i} l1_entry=${hexWord(hi, lo)}`
      foundFlag(check, what, refcount, l1, i, { offset: l2Offset, repaired: repair })
      if (repaired) {
        view.setUint32(i * 8, (refcount === 1 ? hi | COPIED_HI : hi & ~COPIED_HI) >>> 0)
        await repaired.add(i * 8)
      }
    }
    if (index < 0) continue
    const held = check.progress.next(drain)
    if (held) await held
    const place = placeIn(l1, i, l2Offset, clusterSize)
    const table = await counted(check, () => reader.read(index), 'unreadable-table', 'read L2 table', place)
    const turning = pause(image.geometry.l2Entries / ENTRIES_OF_UNIT)
    if (turning) await turning
    // An unaligned table is checked, but not written: its bytes may belong to another structure.
    await checkCopiedL2(check, l2Table(image, l2Offset, l1, i), table, repair && l2Offset % clusterSize === 0)
  }
}

/**
 * Reports that COPIED is wrong in the entry at `index` of `table`.
 *
 * @param what names the entry
 */
function foundFlag(
  check: Check,
  what: string,
  refcount: number,
  table: Table,
  index: number,
  { offset, repaired }: { readonly offset: number; readonly repaired: boolean },
): void {
  found(
    check,
    refcount === 1 ? 'copied-flag-missing' : 'copied-flag-set',
    `${repaired ? 'Repairing' : 'ERROR'} OFLAG_COPIED ${what} refcount=${decimal(refcount)}`,
    { ...placeIn(table, index, offset, check.image.geometry.clusterSize), repaired },
  )
}

/** Bytes of the L1 table that are written together. */
const PIECE = 65536

/** L1 entries that were repaired in memory: an image may have millions of them. */
class RepairedEntries {
  readonly #check: Check
  #from = 0
  #to = 0
  #count = 0

  constructor(check: Check) {
    this.#check = check
  }

  /** Adds the entry at byte `at` of the table, which is behind all those added before. */
  async add(at: number): Promise<void> {
    if (at + 8 - this.#from > PIECE) await this.write()
    if (this.#count === 0) this.#from = at
    this.#to = at + 8
    this.#count++
  }

  /** Writes the entries that were added. */
  async write(): Promise<void> {
    const { image, result } = this.#check
    const count = this.#count
    if (count === 0) return
    this.#count = 0
    const [from, bytes] = [this.#from, this.#to - this.#from]
    const { l1TableOffset } = image.header
    await counted(
      this.#check,
      () => image.writeResident(image.l1, l1TableOffset, from, bytes),
      'repair-failed',
      'write L1 table',
      { ...placeIn(HEADER, undefined, l1TableOffset + from, bytes), silent: true },
    )
    result.corruptions -= count
    result.corruptionsFixed += count
  }
}

async function checkCopiedL2(check: Check, l2: Table, table: Uint8Array, repair: boolean): Promise<void> {
  const { image, result } = check
  const { clusterSize, l2EntrySize, l2Entries } = image.geometry
  const view = viewOf(table)
  let changed = 0
  for (let index = 0; index < l2Entries; index++) {
    const at = index * l2EntrySize
    const hi = view.getUint32(at)
    const lo = view.getUint32(at + 4)
    if (hi === 0 && lo === 0) continue
    const kind = clusterKindOf(image, hi, lo)
    if (kind !== ClusterKind.normal && kind !== ClusterKind.zeroAlloc) continue
    const offset = hostOffsetOf(hi, lo)
    const known = image.hasDataFile ? 1 : refcountOf(check, offset)
    const refcount = known instanceof Promise ? await known : known
    if (refcount === undefined || (refcount === 1) === ((hi & COPIED_HI) !== 0)) continue
    const turning = pause()
    if (turning) await turning
    foundFlag(check, `data cluster: l2_entry=${hexWord(hi, lo)}`, refcount, l2, index, {
      offset,
      repaired: repair,
    })
    if (!repair) continue
    view.setUint32(at, (refcount === 1 ? hi | COPIED_HI : hi & ~COPIED_HI) >>> 0)
    changed++
  }
  if (changed === 0) return
  const { offset } = l2
  const place = placeIn(l2, undefined, offset, clusterSize)
  await counted(
    check,
    async () => image.overlaps.guard(offset, clusterSize, Metadata.activeL2),
    'repair-failed',
    'write L2 table; metadata overlap check failed',
    place,
  )
  await counted(check, () => image.file.write(offset, table), 'repair-failed', 'write L2 table', place)
  image.l2Tables.drop(offset, clusterSize)
  result.corruptions -= changed
  result.corruptionsFixed += changed
}

/** Runs a step whose failure ends the check and counts as a check error. */
async function counted<T>(
  check: Check,
  step: () => Promise<T>,
  what: FindingWord,
  doing: string,
  details: FindingDetails,
): Promise<T> {
  try {
    return await step()
  } catch (error) {
    found(check, what, `ERROR: Could not ${doing}: ${errorText(error)}`, details)
    throw error
  }
}

/**
 * The refcount of the cluster at a host offset; undefined if it cannot be read, which was reported before. No
 * promise if the previous comparison knows it, which saves a lookup for every cluster.
 */
function refcountOf(check: Check, offset: number): number | undefined | Promise<number | undefined> {
  const { image, references, stored } = check
  const cluster = Math.floor(offset / image.geometry.clusterSize)
  return stored.areKnown && cluster < references.clusters ? stored.get(cluster) : readRefcount(check, cluster)
}

async function readRefcount({ image }: Check, cluster: number): Promise<number | undefined> {
  const block = refblockOffset(image, Math.floor(cluster / image.geometry.refblockEntries))
  if (block % image.geometry.clusterSize !== 0) return undefined
  return getRefcount(image, cluster).catch(() => undefined)
}
