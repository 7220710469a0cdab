/**
 * The consistency check: every entry points where a grain or a table can be, none at what another points at, and the redundant tables
 * say the same. QEMU's check only finds entries that point behind the end of the file, and repairs nothing. All findings are silent.
 */
import { checkFinding } from '@vmblock/block-core/check'
import {
  alignUp,
  type CheckOptions,
  type CheckReport,
  divUp,
  type FindingDetails,
  type FindingOwner,
  type FindingWord,
  type JobControl,
  messageOf,
  SECTOR,
  viewOf,
} from '@vmblock/block-core/driver'
import { mostPacked } from './extents/compressed-read.ts'
import { FlatExtent } from './extents/flat.ts'
import { Kind, kindOf } from './extents/lookup.ts'
import { SparseExtent } from './extents/sparse.ts'
import { ENTRY } from './extents/table-log.ts'
import { walkTables } from './extents/walk-tables.ts'
import { GRAIN_MARKER } from './format/markers.ts'
import type { Image } from './image.ts'

/** A running check. */
interface Check {
  readonly control: JobControl
  readonly report: Required<CheckReport>
  readonly repairs: boolean
  /** Whether copies of tables are written anew. */
  readonly repairsCopies: boolean
  tell(what: FindingWord, message: string, details: FindingDetails): void
}

/**
 * Checks an image on which no request runs. A repair of all clears entries that point outside the file or into the header; every repair
 * copies the tables over redundant ones that differ, as a crash may leave them. Grains with two references cannot be repaired. Progress is in extents.
 */
export async function checkImage(
  image: Image,
  isWritable: boolean,
  { repair, report: tell = () => undefined }: CheckOptions,
  control: JobControl,
): Promise<CheckReport> {
  if (isWritable) await image.flush()
  const check: Check = {
    control,
    report: {
      corruptions: 0,
      leaks: 0,
      corruptionsFixed: 0,
      leaksFixed: 0,
      checkErrors: 0,
      imageEndOffset: 0,
      totalClusters: 0,
      allocatedClusters: 0,
      fragmentedClusters: 0,
      compressedClusters: 0,
    },
    repairs: repair === 'all',
    repairsCopies: repair !== undefined,
    tell: (what, message, details) => tell(checkFinding(what, message, { ...details, silent: true })),
  }
  try {
    for (const [done, extent] of image.extents.entries()) {
      control.report(done, image.extents.length)
      const held = control.checkpoint()
      if (held) await held
      if (extent instanceof SparseExtent) await extent.lock.run(() => checkSparse(check, extent))
      else if (extent instanceof FlatExtent) checkFlat(check, extent)
    }
  } finally {
    // The tables on disk may have been changed without the caches.
    if (repair) image.drop()
  }
  control.report(image.extents.length, image.extents.length)
  if (repair) await image.flush()
  const { imageEndOffset: _, ...report } = check.report
  return report
}

/** Bytes behind the end of the file read as zeroes, which is not what was there. */
function checkFlat({ report, tell }: Check, extent: FlatExtent): void {
  const { end, file } = extent
  if (alignUp(file.size, SECTOR) >= end) return
  report.corruptions++
  tell(
    'reference-outside-file',
    `ERROR The extent '${file.node.filename}' ends at ${file.size}, not at ${end}`,
    {
      offset: file.size,
      bytes: end - file.size,
      owner: { structure: 'header', offset: 0, guestOffset: extent.start },
    },
  )
}

/** An entry that is wrong, and the place of it in the file. */
interface Wrong {
  readonly word: FindingWord
  readonly message: string
  readonly at: number
  /** What it points at, in bytes. */
  readonly target: number
  readonly bytes: number
  readonly owner: FindingOwner
}

async function checkSparse(check: Check, extent: SparseExtent): Promise<void> {
  const { report } = check
  const { header, grainSize, file, directory, tableBytes } = extent
  const total = divUp(extent.bytes, grainSize)
  report.totalClusters += total
  const wrong: Wrong[] = []
  const end = alignUp(file.size, SECTOR)
  for (const [index, sector] of directory.entries()) {
    if (sector === 0) continue
    const owner: FindingOwner = {
      structure: 'l1-table',
      offset: header.directory,
      index,
      guestOffset: extent.start + index * extent.coverage,
    }
    const place = { at: header.directory + index * ENTRY, target: sector * SECTOR, bytes: tableBytes, owner }
    if (sector * SECTOR + header.tableEntries * ENTRY > end)
      wrong.push({
        word: 'reference-outside-file',
        message: `grain directory entry ${index}: outside the file`,
        ...place,
      })
  }
  const isOutside = new Set(wrong.map(({ owner }) => owner.index))
  const sound = directory.map((sector, index) => (isOutside.has(index) ? 0 : sector))
  const grains = new Sectors()
  let expected = 0
  await walkTables(
    extent,
    sound,
    async (index, entries) => {
      const held = check.control.checkpoint()
      if (held) await held
      for (let i = 0; i < entries.byteLength / ENTRY; i++) {
        const entry = entries.getUint32(i * ENTRY, true)
        const kind = kindOf(extent, entry)
        if (kind === Kind.unallocated || kind === Kind.zero) continue
        const guest = index * extent.coverage + i * grainSize
        // Entries behind the end of the disk describe nothing.
        if (guest >= extent.bytes) break
        report.allocatedClusters++
        if (kind === Kind.compressed) report.compressedClusters++
        // Compressed grains have gaps in between, whatever their order.
        else if (expected !== 0 && entry !== expected) report.fragmentedClusters++
        expected = entry + grainSize / SECTOR
        const host = entry * SECTOR
        const owner: FindingOwner = {
          structure: 'l2-table',
          offset: directory[index]! * SECTOR,
          index: i,
          guestOffset: extent.start + guest,
        }
        const place = { at: owner.offset + i * ENTRY, target: host, bytes: grainSize, owner }
        const name = `grain table entry for sector ${(extent.start + guest) / SECTOR}`
        if (host >= end)
          wrong.push({ word: 'reference-outside-file', message: `${name}: outside the file`, ...place })
        else if (host < Math.max(header.overhead, SECTOR))
          wrong.push({
            word: 'reference-into-header',
            message: `${name}: in the header or the tables`,
            ...place,
          })
        else {
          grains.add(entry)
          if (kind === Kind.compressed && header.hasMarkers) {
            const why = await wrongMarker(extent, host, (extent.start + guest) / SECTOR)
            if (why)
              tellWrong(check, { word: 'unreadable-table', message: `${name}: ${why}`, ...place }, false)
          }
        }
      }
    },
    (index, error) => {
      report.checkErrors++
      check.tell('unreadable-table', `ERROR Could not read grain table ${index}: ${messageOf(error)}`, {
        offset: directory[index]! * SECTOR,
        owner: { structure: 'l2-table', offset: directory[index]! * SECTOR },
      })
    },
  )
  for (const sector of grains.overlapping(header.isCompressed ? 1 : grainSize / SECTOR)) {
    report.corruptions++
    check.tell('shared-cluster', `ERROR The grain at ${sector * SECTOR} belongs to two parts of the disk`, {
      offset: sector * SECTOR,
      bytes: grainSize,
    })
  }
  tellSharedTables(check, extent)
  for (const each of wrong) {
    if (check.repairs) await file.write(each.at, new Uint8Array(ENTRY))
    if (check.repairs && each.owner.structure === 'l1-table') directory[each.owner.index!] = 0
    tellWrong(check, each, check.repairs)
  }
  if (extent.redundant) await checkCopies(check, extent, extent.redundant)
}

function tellWrong(
  { report, tell }: Check,
  { word, message, target, bytes, owner }: Wrong,
  repaired: boolean,
): void {
  if (repaired) report.corruptionsFixed++
  else report.corruptions++
  tell(word, `${repaired ? 'Repairing' : 'ERROR'} ${message}`, { offset: target, bytes, owner, repaired })
}

/** What is wrong with the marker of a compressed grain. */
async function wrongMarker(
  { file, grainSize }: SparseExtent,
  host: number,
  sector: number,
): Promise<string | undefined> {
  const bytes = new Uint8Array(GRAIN_MARKER.size)
  await file.read(host, bytes)
  const marker = GRAIN_MARKER.read(bytes)
  if (marker.sector !== BigInt(sector)) return `its marker names sector ${marker.sector}`
  if (marker.bytes === 0 || marker.bytes > mostPacked(grainSize)) return `its length is ${marker.bytes} bytes`
  return host + GRAIN_MARKER.size + marker.bytes > file.size ? 'it ends outside the file' : undefined
}

/** Two entries of the directory for one table. */
function tellSharedTables({ report, tell }: Check, { directory, tableBytes, header }: SparseExtent): void {
  const tables = new Sectors()
  for (const sector of directory) if (sector !== 0) tables.add(sector)
  for (const sector of tables.overlapping(tableBytes / SECTOR)) {
    report.corruptions++
    tell('shared-cluster', `ERROR The grain table at ${sector * SECTOR} belongs to two parts of the disk`, {
      offset: sector * SECTOR,
      bytes: tableBytes,
      owner: { structure: 'l1-table', offset: header.directory },
    })
  }
}

/** Compares the redundant tables, and writes those anew that differ. */
async function checkCopies(check: Check, extent: SparseExtent, redundant: Uint32Array): Promise<void> {
  const { directory, file, tableBytes, header } = extent
  const bytes = header.tableEntries * ENTRY
  const copy = new Uint8Array(bytes)
  const differing = async (index: number, entries: DataView): Promise<void> => {
    const sector = redundant[index]!
    if (sector === 0) return
    await file.read(sector * SECTOR, copy)
    const view = viewOf(copy)
    let first = 0
    while (first < bytes && view.getUint32(first, true) === entries.getUint32(first, true)) first += ENTRY
    if (first === bytes) return
    const repaired = check.repairsCopies
    if (repaired) {
      await file.write(sector * SECTOR, new Uint8Array(entries.buffer, entries.byteOffset, bytes))
      check.report.leaksFixed++
    } else check.report.leaks++
    check.tell(
      'differing-copy',
      `${repaired ? 'Repairing' : 'ERROR'} redundant grain table ${index}: it differs`,
      {
        offset: sector * SECTOR,
        bytes: tableBytes,
        repaired,
        owner: {
          structure: 'l2-table',
          offset: directory[index]! * SECTOR,
          index: first / ENTRY,
          guestOffset: extent.start + index * extent.coverage + (first / ENTRY) * extent.grainSize,
        },
      },
    )
  }
  const end = alignUp(file.size, SECTOR)
  const both = directory.map((sector, index) =>
    Math.max(sector, redundant[index]!) * SECTOR + bytes <= end && redundant[index] !== 0 ? sector : 0,
  )
  const seen = new Set<number>()
  await walkTables(extent, both, async (index, entries) => {
    seen.add(index)
    await differing(index, entries)
  })
  // Tables of zeroes are not walked; their copies may hold something.
  const others = redundant.map((sector, index) => (both[index] === 0 || seen.has(index) ? 0 : sector))
  const zeroes = new DataView(new ArrayBuffer(bytes))
  await walkTables(extent, others, (index) => differing(index, zeroes))
}

/** Sector numbers, as many as there may be, in little memory. */
class Sectors {
  #all = new Uint32Array(1024)
  #count = 0

  add(sector: number): void {
    if (this.#count === this.#all.length) {
      const more = new Uint32Array(this.#all.length * 2)
      more.set(this.#all)
      this.#all = more
    }
    this.#all[this.#count++] = sector
  }

  /** Those that begin within `size` sectors after another one, or at the same; sorts. */
  *overlapping(size: number): Generator<number> {
    const sorted = this.#all.subarray(0, this.#count).sort()
    for (let i = 1; i < sorted.length; i++) if (sorted[i]! - sorted[i - 1]! < size) yield sorted[i]!
  }
}
