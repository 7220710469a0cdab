/**
 * The consistency check: every entry leads to a place that can be one, and no place has two entries. What is
 * counted, and what is repaired, is as in QEMU (block/qed-check.c), which prints no findings of its own.
 */
import { type CheckOptions, type CheckReport, divUp, viewOf } from '@vmblock/block-core'
import type { Image } from './image.ts'
import { ENTRY, entryAt, setEntry, ZERO_CLUSTER } from './lookup.ts'

/** Tables are read in pieces of at most this many bytes. */
const PIECE = 2 ** 20

/** A check under way. */
interface Check {
  readonly image: Image
  readonly report: Required<CheckReport>
  readonly repairs: boolean
  readonly used: ClusterSet
}

/**
 * Checks an image on which no request runs. A repair makes entries that lead nowhere unallocated; the need-check bit
 * is cleared if nothing is left to repair. Leaks and clusters with two entries cannot be repaired.
 */
export async function checkImage(image: Image, { repair }: CheckOptions): Promise<CheckReport> {
  return image.lock.run(async () => {
    if (image.writable) await image.writeTables()
    const check: Check = {
      image,
      report: emptyReport(divUp(image.size, image.clusterSize)),
      repairs: repair !== undefined,
      used: new ClusterSet(),
    }
    const { imageEndOffset: _, ...report } = await run(check)
    if (!check.repairs) return report
    // The tables were changed behind the caches.
    image.l1Table.clear()
    image.l2Tables.clear()
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
  for (const table of tables) await checkTable(check, table)
  // Only a whole scan can say what nobody refers to.
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

/** Goes over the entries of a table, and clears those that `isValid` refuses if that was asked for. */
async function walk(
  { image, report, repairs }: Check,
  tableOffset: number,
  isValid: (entry: number) => boolean,
): Promise<void> {
  const { tableBytes, file } = image
  const bytes = new Uint8Array(Math.min(tableBytes, PIECE))
  const view = viewOf(bytes)
  for (let at = 0; at < tableBytes; at += bytes.length) {
    try {
      await file.read(tableOffset + at, bytes)
      let broken = 0
      for (let index = 0; index < bytes.length / ENTRY; index++) {
        if (isValid(entryAt(view, index))) continue
        broken++
        if (repairs) setEntry(view, index, 0)
      }
      if (repairs) report.corruptionsFixed += broken
      else report.corruptions += broken
      if (repairs && broken > 0) await file.write(tableOffset + at, bytes)
    } catch {
      report.checkErrors++
      return
    }
  }
}

/** Notes that clusters are referred to. @returns whether they were not before */
function takeClusters({ image, report, used }: Check, offset: number, count: number): boolean {
  const first = offset / image.clusterSize
  let twice = 0
  for (let i = 0; i < count; i++) if (!used.add(first + i)) twice++
  report.corruptions += twice
  return twice === 0
}

/** A set of cluster numbers, which takes memory for the parts of a file that are in use. */
class ClusterSet {
  readonly #pages = new Map<number, Uint8Array>()
  size = 0

  /** @returns whether it was not in the set */
  add(cluster: number): boolean {
    const bit = cluster % 8
    const byte = (cluster - bit) / 8
    const at = byte % 4096
    const page = (byte - at) / 4096
    const bits = this.#pages.get(page) ?? new Uint8Array(4096)
    this.#pages.set(page, bits)
    if (((bits[at]! >> bit) & 1) !== 0) return false
    bits[at]! |= 1 << bit
    this.size++
    return true
  }
}
