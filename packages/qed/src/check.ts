/**
 * The consistency check: every entry points where a cluster or table can be, and none is referenced twice.
 * Counts and repairs are as in QEMU (block/qed-check.c), which prints no findings of its own.
 */
import {
  BlockError,
  type CheckOptions,
  type CheckReport,
  divUp,
  isZero,
  type JobControl,
  pause,
  viewOf,
} from '@vmblock/block-core/driver'
import type { Image } from './image.ts'
import { ENTRY, entryAt, setEntry, ZERO_CLUSTER } from './lookup.ts'

/** Tables are read in pieces of at most this many bytes. */
const PIECE = 2 ** 20

/** Entries that are as much work as a small request; after such units the event loop gets its turn. */
const ENTRIES_OF_UNIT = 64

/** A running check. */
interface Check {
  readonly image: Image
  readonly control: JobControl
  readonly report: Required<CheckReport>
  readonly repairs: boolean
  readonly used: ClusterSet
  /** Bytes of empty tables that may still be read. */
  bytesLeft: number
}

/**
 * Bytes of empty tables that a check of any image may read: this takes some seconds. They may lie in holes.
 */
const BYTES = 2 ** 28

/**
 * Checks an image on which no request runs. A repair clears entries that point outside the file; the
 * need-check bit is cleared if no error is left. Leaks and clusters with two references cannot be repaired.
 * Progress is in tables. When a repair is cancelled, the entries cleared so far are cleared, and the bit stays.
 */
export async function checkImage(
  image: Image,
  { repair }: CheckOptions,
  control: JobControl,
): Promise<CheckReport> {
  return image.lock.run(async () => {
    if (image.writable) await image.writeTables()
    const check: Check = {
      image,
      control,
      report: emptyReport(divUp(image.size, image.clusterSize)),
      repairs: repair !== undefined,
      used: new ClusterSet(image, await allowedPages(image)),
      bytesLeft: BYTES,
    }
    const { imageEndOffset: _, ...report } = await run(check).finally(() => {
      if (!check.repairs) return
      // The tables on disk were changed without the caches.
      image.l1Table.clear()
      image.l2Tables.clear()
    })
    if (!check.repairs) return report
    await image.flushFile()
    if (report.corruptions === 0 && report.checkErrors === 0) {
      image.needsRepair = false
      await image.markClean()
    }
    return report
  })
}

const emptyReport = (totalClusters: number): Required<CheckReport> => ({
  corruptions: 0,
  leaks: 0,
  corruptionsFixed: 0,
  leaksFixed: 0,
  checkErrors: 0,
  imageEndOffset: 0,
  totalClusters,
  allocatedClusters: 0,
  fragmentedClusters: 0,
  compressedClusters: 0,
})

async function run(check: Check): Promise<Required<CheckReport>> {
  const { image, report, used } = check
  const { l1TableOffset, headerSize } = image.header
  const tables: number[] = []
  takeClusters(check, l1TableOffset, image.header.tableSize)
  await walk(check, l1TableOffset, (entry) => {
    if (entry === 0) return true
    if (!image.isTable(entry)) return false
    if (takeClusters(check, entry, image.header.tableSize)) tables.push(entry)
    return true
  })
  const total = tables.length + 1
  for (const [index, table] of tables.entries()) {
    check.control.report(index + 1, total)
    await checkTable(check, table)
  }
  check.control.report(total, total)
  // Only a complete scan shows which clusters are not referenced.
  if (report.checkErrors === 0) report.leaks = image.end / image.clusterSize - headerSize - used.size
  return report
}

async function checkTable(check: Check, table: number): Promise<void> {
  const { image, report } = check
  let expected = 0
  await walk(check, table, (entry) => {
    if (entry === 0 || entry === ZERO_CLUSTER) return true
    report.allocatedClusters++
    if (expected !== 0 && entry !== expected) report.fragmentedClusters++
    expected = entry + image.clusterSize
    if (!image.isCluster(entry)) return false
    takeClusters(check, entry, 1)
    return true
  })
}

/** Goes through the entries of a table. If the check repairs, clears those that `isValid` refuses. */
async function walk(check: Check, tableOffset: number, isValid: (entry: number) => boolean): Promise<void> {
  const { image, report, repairs } = check
  const { tableBytes, file } = image
  check.bytesLeft -= tableBytes
  if (check.bytesLeft < 0)
    throw tooMuch(
      image,
      'the tables have far more entries than the file holds, so they cannot all be checked',
    )
  const bytes = new Uint8Array(Math.min(tableBytes, PIECE))
  const view = viewOf(bytes)
  for (let at = 0; at < tableBytes; at += bytes.length) {
    const held = check.control.checkpoint()
    if (held) await held
    if (!(await works(check, file.read(tableOffset + at, bytes)))) return
    const turning = pause(bytes.length / ENTRY / ENTRIES_OF_UNIT)
    if (turning) await turning
    let broken = 0
    if (isZero(bytes)) check.bytesLeft -= bytes.length
    if (check.bytesLeft < 0) throw tooMuch(image, 'too many tables are empty for a check to go on')
    for (let index = 0; index < bytes.length / ENTRY; index++) {
      if (isValid(entryAt(view, index))) continue
      broken++
      if (repairs) setEntry(view, index, 0)
    }
    if (repairs) report.corruptionsFixed += broken
    else report.corruptions += broken
    if (repairs && broken > 0 && !(await works(check, file.write(tableOffset + at, bytes)))) return
  }
}

/** Whether a request succeeds; a failure counts as a check error. */
async function works({ report }: Check, request: Promise<void>): Promise<boolean> {
  try {
    await request
    return true
  } catch {
    report.checkErrors++
    return false
  }
}

/** Ends a check of an image that was made to keep it busy. */
const tooMuch = (image: Image, message: string): BlockError =>
  new BlockError('EIO', message, { node: image.nodeName })

/** Counts references to clusters. @returns whether they are the first ones */
function takeClusters({ image, report, used }: Check, offset: number, count: number): boolean {
  const first = offset / image.clusterSize
  let twice = 0
  for (let i = 0; i < count; i++) if (!used.add(first + i)) twice++
  report.corruptions += twice
  return twice === 0
}

/** Bytes of a page of a set: small, because a hostile image may refer to one cluster in each. */
const PAGE = 64
/** Pages that a check of any image may allocate: 8 MiB, and as much again for their index. */
const PAGES = 2 ** 17

/**
 * How many pages may be allocated: one for each stored cluster, or as many full ones as hold a bit for each
 * table entry that may be stored.
 */
async function allowedPages({ file, clusterSize }: Image): Promise<number> {
  const actualSize = (await file.node.info()).actualSize || file.size
  return PAGES + Math.max(actualSize / clusterSize, actualSize / ENTRY / (8 * PAGE))
}

/** A set of cluster numbers, which takes memory only for the parts of a file that are in use. */
class ClusterSet {
  readonly #pages = new Map<number, Uint8Array>()
  readonly #image: Image
  readonly #allowed: number
  size = 0

  /** @param allowed pages */
  constructor(image: Image, allowed: number) {
    this.#image = image
    this.#allowed = allowed
  }

  /**
   * @returns whether the cluster is new in the set. @throws BlockError EIO if the set would become too large
   */
  add(cluster: number): boolean {
    const bit = cluster % 8
    const byte = (cluster - bit) / 8
    const at = byte % PAGE
    const bits = this.#page((byte - at) / PAGE)
    if (((bits[at]! >> bit) & 1) !== 0) return false
    bits[at]! |= 1 << bit
    this.size++
    return true
  }

  #page(index: number): Uint8Array {
    const present = this.#pages.get(index)
    if (present) return present
    if (this.#pages.size >= this.#allowed)
      throw tooMuch(this.#image, 'the clusters in use are too far apart to be counted')
    const page = new Uint8Array(PAGE)
    this.#pages.set(index, page)
    return page
  }
}
