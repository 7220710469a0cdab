/** Goes through the grain tables of an extent as they are on disk, in the order of the file. */
import { type BlockChild, pause, SECTOR, viewOf } from '@vmblock/block-core/driver'
import type { SparseHeader } from '../format/sparse-header.ts'

/** Most bytes that are read at once. */
const PIECE = 2 ** 20
/** Entries that are looked at without a pause: a fraction of a millisecond. */
const ENTRIES_OF_TURN = 2 ** 18

/** What has tables. */
export interface TableOwner {
  readonly file: BlockChild
  readonly header: SparseHeader
  readonly directory: Uint32Array
  /** Bytes of a table, in whole sectors. */
  readonly tableBytes: number
}

/** A table, by its index in the directory. */
interface Place {
  readonly index: number
  readonly offset: number
}

/** Tables that lie next to each other. */
async function* runsOf(places: readonly Place[], bytes: number): AsyncGenerator<readonly Place[]> {
  let run: Place[] = []
  for (const place of places) {
    const last = run.at(-1)
    if (last && (place.offset !== last.offset + bytes || (run.length + 1) * bytes > PIECE)) {
      yield run
      run = []
    }
    run.push(place)
  }
  if (run.length > 0) yield run
}

/** Whether bytes of a file are known to be zeroes. */
async function isHole(file: BlockChild, offset: number, bytes: number): Promise<boolean> {
  if (offset + bytes > file.size) return false
  const status = await file.blockStatus(offset, bytes)
  return status.zero && status.bytes >= bytes
}

/**
 * Calls `visit` for each table that is not known to be empty, once even if the directory has it twice.
 *
 * @param directory sectors of tables; 0: none
 * @param visit gets the index of the table in the directory, and its entries
 * @param fails decides about a table that cannot be read; by default the walk fails
 */
export async function walkTables(
  { file, tableBytes, header }: TableOwner,
  directory: Uint32Array,
  visit: (index: number, entries: DataView) => void | Promise<void>,
  fails: (index: number, error: unknown) => void = (_, error) => {
    throw error
  },
): Promise<void> {
  const places: Place[] = []
  for (const [index, sector] of directory.entries())
    if (sector !== 0) places.push({ index, offset: sector * SECTOR })
  places.sort((a, b) => a.offset - b.offset)
  const once = places.filter(({ offset }, i) => i === 0 || offset !== places[i - 1]!.offset)
  let entries = 0
  for await (const run of runsOf(once, tableBytes)) {
    const { offset } = run[0]!
    const bytes = new Uint8Array(run.length * tableBytes)
    try {
      if (await isHole(file, offset, bytes.length)) continue
      await file.read(offset, bytes)
    } catch (error) {
      for (const { index } of run) fails(index, error)
      continue
    }
    for (const [i, { index }] of run.entries()) {
      const own = bytes.subarray(i * tableBytes, i * tableBytes + header.tableEntries * 4)
      const visited = visit(index, viewOf(own))
      if (visited) await visited
    }
    entries += run.length * header.tableEntries
    if (entries < ENTRIES_OF_TURN) continue
    entries = 0
    const turn = pause()
    if (turn) await turn
  }
}

/** The highest sector that an entry names; 0 if none does. @throws BlockError of reading the tables */
export async function highestEntry(extent: TableOwner): Promise<number> {
  let highest = 0
  await walkTables(extent, extent.directory, (_, entries) => {
    for (let at = 0; at < entries.byteLength; at += 4) {
      const entry = entries.getUint32(at, true)
      if (entry > highest) highest = entry
    }
  })
  return highest
}
