/** Walks all tables, and notes which entries refer to the clusters of a window; requests of the guest run in between. */
import { type PieceControl, viewOf } from '@vmblock/block-core/driver'
import { TableReader } from '../check/table-reader.ts'
import { bitmapCluster } from '../format/bitmap-layout.ts'
import { COMPRESSED_HI, compressedExtent, hostOffsetOf } from '../format/l2-entry.ts'
import type { Image } from '../image/image.ts'
import { getRefcount } from '../refcounts/refcounts.ts'
import { BITMAPS, type ReferenceMap } from './reference-map.ts'
import { l1Words, loadRoots, needsRepair, type Roots } from './roots.ts'
import { settle } from './settle.ts'
import type { Targets } from './survey.ts'

/** Bytes of tables that are read while requests wait. */
const PIECE = 4 * 2 ** 20
/** Entries of an L1 table, or of a bitmap's table, that are looked at at once: 64 KiB. */
const WORDS = 8192

/** What a scan fills, and what it looks out for. */
export interface Scan {
  readonly image: Image
  readonly map: ReferenceMap
  /** Free clusters to which nothing may refer. */
  readonly targets: Targets
}

/**
 * Fills the map.
 *
 * @throws BlockError EIO if a reference leads to a cluster that counts as free; the error of the file
 */
export async function scanTables(scan: Scan, control: PieceControl): Promise<void> {
  let next: Position | undefined = { root: 0, index: 0 }
  while (next) {
    const from: Position = next
    next = await control.alone(() => scanPiece(scan, from))
    await control.checkpoint()
  }
  scan.map.group()
}

/** The next entry to be looked at: of an L1 table, or of a bitmap's table. */
interface Position {
  readonly root: number
  readonly index: number
}

/** @returns where the next piece begins; undefined at the end */
async function scanPiece(scan: Scan, from: Position): Promise<Position | undefined> {
  const { image } = scan
  await settle(image)
  const roots = await loadRoots(image)
  const isBitmap = from.root >= BITMAPS
  const table = isBitmap ? roots.bitmaps[from.root - BITMAPS] : roots.l1Tables[from.root]
  if (!table) return isBitmap || roots.bitmaps.length === 0 ? undefined : { root: BITMAPS, index: 0 }
  const entries = 'tableSize' in table ? table.tableSize : table.entries
  const end = Math.min(entries, from.index + WORDS)
  const index = isBitmap ? await scanBitmap(scan, roots, from, end) : await scanL1(scan, roots, from, end)
  return index < entries ? { root: from.root, index } : { root: from.root + 1, index: 0 }
}

async function scanBitmap(scan: Scan, roots: Roots, { root, index }: Position, end: number): Promise<number> {
  const { file, geometry } = scan.image
  const { clusterSize } = geometry
  const bytes = new Uint8Array((end - index) * 8)
  await file.read(roots.bitmaps[root - BITMAPS]!.tableOffset + index * 8, bytes)
  const view = viewOf(bytes)
  for (let i = 0; i < end - index; i++) {
    const cluster = bitmapCluster(view.getUint32(i * 8), view.getUint32(i * 8 + 4), clusterSize)
    if (cluster?.kind === 'data') await note(scan, cluster.hostOffset / clusterSize, root, index + i)
  }
  return end
}

/** @returns index of the first entry that was not looked at */
async function scanL1(scan: Scan, roots: Roots, { root, index }: Position, end: number): Promise<number> {
  const { image } = scan
  const { clusterSize } = image.geometry
  const view = await l1Words(image, roots, root, index, end)
  const tables: { readonly offset: number; readonly index: number }[] = []
  let stop = index
  for (; stop < end && tables.length * clusterSize < PIECE; stop++) {
    const offset = hostOffsetOf(view.getUint32((stop - index) * 8), view.getUint32((stop - index) * 8 + 4))
    if (offset === 0 || offset % clusterSize !== 0) continue
    await note(scan, offset / clusterSize, root, -1 - stop)
    tables.push({ offset, index: stop })
  }
  // With a data file, guest data has no clusters here, and cannot be compressed.
  if (image.hasDataFile) return stop
  const offsets = tables.map(({ offset }) => offset)
  const reader = new TableReader({ file: image.file, offsets, size: clusterSize, ahead: true })
  for (const [i, table] of tables.entries()) await scanL2(scan, await reader.read(i), root, table.index)
  return stop
}

async function scanL2(scan: Scan, bytes: Uint8Array, root: number, l1Index: number): Promise<void> {
  const { geometry } = scan.image
  const { clusterSize, clusterBits, l2Entries, l2EntrySize } = geometry
  const view = viewOf(bytes)
  const first = l1Index * l2Entries
  for (let i = 0; i < l2Entries; i++) {
    const [hi, lo] = [view.getUint32(i * l2EntrySize), view.getUint32(i * l2EntrySize + 4)]
    if (hi === 0 && lo === 0) continue
    if ((hi & COMPRESSED_HI) === 0) {
      const host = hostOffsetOf(hi, lo)
      if (host === 0) continue
      const noted = note(scan, Math.floor(host / clusterSize), root, first + i)
      if (noted) await noted
      continue
    }
    const extent = compressedExtent(hi, lo, clusterBits)
    const last = Math.floor((extent.hostOffset + extent.bytes - 1) / clusterSize)
    for (let at = Math.floor(extent.hostOffset / clusterSize); at <= last; at++) {
      const noted = note(scan, at, root, first + i)
      if (noted) await noted
    }
  }
}

/** Notes a reference. @returns nothing to await, nearly always */
function note(
  { image, map, targets }: Scan,
  cluster: number,
  root: number,
  number: number,
): Promise<void> | undefined {
  map.add(cluster, root, number)
  return targets.has(cluster) ? requireCounted(image, cluster) : undefined
}

/** Meanwhile the cluster may have been taken. */
async function requireCounted(image: Image, cluster: number): Promise<void> {
  const refcount = await image.lock.run(() => getRefcount(image, cluster))
  if (refcount === 0)
    throw needsRepair(image, `cluster ${cluster} is in use, and counts as free (check -r all)`)
}
