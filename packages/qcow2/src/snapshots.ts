/** The table of internal snapshots, as the image file holds it. */
import { alignUp, BlockError } from '@vmblock/block-core'
import { MAX_L1_BYTES, MAX_SNAPSHOT_TABLE_BYTES, MAX_SNAPSHOTS, validateTable } from './format/limits.ts'
import { parseSnapshotTable, type Snapshot } from './format/snapshot-layout.ts'
import type { Image } from './image.ts'

/** Bytes of the table that are read at once: more than the longest entry. */
const PIECE = 2 ** 18

/** Part of the table. */
export interface SnapshotPiece {
  readonly snapshots: readonly Snapshot[]
  /** Where it ends: bytes from the beginning of the table. */
  readonly end: number
}

/**
 * Reads the table piece by piece: there may be 64 MiB of it, and nobody needs all of that at once. Where the L1 tables
 * are is not looked at: see {@link loadSnapshotPlaces}.
 *
 * @throws BlockError EFBIG, or what the host reports
 */
export async function* walkSnapshots(image: Image): AsyncGenerator<SnapshotPiece> {
  const { nbSnapshots, snapshotsOffset } = image.header
  const tooBig = (message: string): BlockError =>
    new BlockError('EFBIG', message, { node: image.settings.nodeName })
  // A check opens images that an ordinary open refuses.
  if (nbSnapshots > MAX_SNAPSHOTS) throw tooBig('Snapshot table too large')
  let start = 0
  for (let done = 0; done < nbSnapshots; ) {
    const bytes = new Uint8Array(PIECE)
    await image.file.read(snapshotsOffset + start, bytes)
    const { snapshots, length } = parseSnapshotTable(bytes, nbSnapshots - done, false, done)
    const end = start + length
    if (end > MAX_SNAPSHOT_TABLE_BYTES) throw tooBig('Snapshot table is too big')
    yield { snapshots, end }
    done += snapshots.length
    start = alignUp(end, 8)
  }
}

/** What snapshots keep in the file. */
export interface SnapshotPlaces {
  /** Bytes of their table. */
  readonly tableBytes: number
  /** Their L1 tables, in order. Offsets and lengths in bytes. */
  readonly l1Tables: readonly { readonly offset: number; readonly bytes: number }[]
}

/** Finds what snapshots keep, and makes sure that the L1 tables may be read. @throws BlockError EFBIG, EINVAL */
export async function loadSnapshotPlaces(image: Image): Promise<SnapshotPlaces> {
  let tableBytes = 0
  const l1Tables: { offset: number; bytes: number }[] = []
  for await (const { snapshots, end } of walkSnapshots(image)) {
    for (const { l1TableOffset: offset, l1Size } of snapshots) {
      validateTable(offset, l1Size, 8, MAX_L1_BYTES, image.geometry.clusterSize, 'Snapshot L1 table')
      l1Tables.push({ offset, bytes: l1Size * 8 })
    }
    tableBytes = end
  }
  return { tableBytes, l1Tables }
}
