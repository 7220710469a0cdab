/** The roots of an image's mapping: the active L1 table and those of the snapshots; and where the tables of bitmaps are. */
import { alignUp, BlockError, viewOf } from '@vmblock/block-core/driver'
import { type BitmapEntry, bitmapEntryBytes, parseBitmapDirectory } from '../format/bitmap-layout.ts'
import { Autoclear } from '../format/features.ts'
import { MAX_L1_BYTES, validateTable } from '../format/limits.ts'
import { snapshotHeader } from '../format/snapshot-layout.ts'
import type { Image } from '../image/image.ts'
import { loadSnapshotRanges } from '../snapshots/snapshots.ts'

/** An L1 table. Offsets are bytes of the image file. */
export interface Root {
  readonly offset: number
  readonly entries: number
  /** Where the entry of its snapshot is; undefined for the active table. */
  readonly snapshotAt?: number
}

/** What leads to guest data, and to the data of bitmaps. */
export interface Roots {
  /** The active one first, then those of snapshots, in the order of their table. */
  readonly l1Tables: readonly Root[]
  /** Bytes of the snapshot table. */
  readonly snapshotBytes: number
  readonly bitmaps: readonly BitmapRoot[]
}

/** A bitmap, and where its directory entry is in the image file, in bytes. */
export interface BitmapRoot extends BitmapEntry {
  readonly at: number
}

/** @throws BlockError for a broken table of snapshots or directory of bitmaps; the error of the file */
export async function loadRoots(image: Image): Promise<Roots> {
  const { header } = image
  const active: Root = { offset: header.l1TableOffset, entries: header.l1Size }
  const { l1Tables, bytes } = await snapshotRoots(image)
  return { l1Tables: [active, ...l1Tables], snapshotBytes: bytes, bitmaps: await bitmapRoots(image) }
}

async function snapshotRoots(image: Image): Promise<{ l1Tables: Root[]; bytes: number }> {
  const { nbSnapshots, snapshotsOffset } = image.header
  if (nbSnapshots === 0) return { l1Tables: [], bytes: 0 }
  const { table } = await loadSnapshotRanges(image)
  const bytes = table.reduce((sum, range) => sum + range.bytes, 0)
  const content = new Uint8Array(bytes)
  await image.file.read(snapshotsOffset, content)
  const l1Tables: Root[] = []
  for (let at = 0; l1Tables.length < nbSnapshots; ) {
    const { l1TableOffset, l1Size, idSize, nameSize, extraDataSize } = snapshotHeader.read(content, at)
    const offset = Number(l1TableOffset)
    validateTable(offset, l1Size, 8, MAX_L1_BYTES, image.geometry.clusterSize, 'Snapshot L1 table')
    l1Tables.push({ offset, entries: l1Size, snapshotAt: snapshotsOffset + at })
    at = alignUp(at + snapshotHeader.size + extraDataSize + idSize + nameSize, 8)
  }
  return { l1Tables, bytes }
}

async function bitmapRoots(image: Image): Promise<BitmapRoot[]> {
  const { bitmaps } = image.header.extensions
  if (!bitmaps || (image.header.autoclear & Autoclear.bitmaps) === 0n) return []
  const bytes = new Uint8Array(bitmaps.directorySize)
  await image.file.read(bitmaps.directoryOffset, bytes)
  const { clusterSize } = image.geometry
  const context = { clusterSize, size: image.size, nbBitmaps: bitmaps.nbBitmaps }
  let at = 0
  return parseBitmapDirectory(bytes, context).map((entry) => {
    const place = at
    at += bitmapEntryBytes(bytes, at)
    return { ...entry, at: bitmaps.directoryOffset + place }
  })
}

/** Entries `first` to `end` of an L1 table, `end` excluded. @throws the error of the file */
export async function l1Words(image: Image, roots: Roots, index: number, first: number, end: number) {
  const root = roots.l1Tables[index]!
  if (index === 0) {
    const { bytes } = image.l1
    return viewOf(bytes.subarray(first * 8, Math.min(end * 8, bytes.length)))
  }
  const words = new Uint8Array((Math.min(end, root.entries) - first) * 8)
  await image.file.read(root.offset + first * 8, words)
  return viewOf(words)
}

/** The error for an image whose structures contradict each other. */
export const needsRepair = (image: Image, why: string): BlockError =>
  new BlockError('EIO', `the image has to be repaired before it can be compacted: ${why}`, {
    node: image.settings.nodeName,
  })
