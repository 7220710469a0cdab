/** The tables of an image as findings name them: which structure, where, whose, and what its entries cover. */
import type { FindingDetails, FindingOwner, FindingStructure } from '@vmblock/block-core/driver'
import type { Snapshot } from '../format/snapshot-layout.ts'
import { decodeName } from '../format/words.ts'
import type { Image } from '../image/image.ts'

/** A structure that is being walked. Offsets and sizes are in bytes. */
export interface Table {
  readonly structure: FindingStructure
  /** In the image file. */
  readonly offset: number
  /** The snapshot that it belongs to, if any. */
  readonly snapshot?: Snapshot | undefined
  /** Of a table of guest data: where the guest sees what the first entry covers, and how much each covers. */
  readonly guestOffset?: number
  readonly coverage?: number
}

/** The header, which refers to tables. */
export const HEADER: Table = { structure: 'header', offset: 0 }

/** An L1 table. */
export const l1Table = ({ geometry }: Image, offset: number, snapshot?: Snapshot): Table => ({
  structure: 'l1-table',
  offset,
  snapshot,
  guestOffset: 0,
  coverage: geometry.l2Entries * geometry.clusterSize,
})

/** The L2 table to which the entry at `index` of `l1` refers. */
export const l2Table = ({ geometry }: Image, offset: number, l1: Table, index: number): Table => ({
  structure: 'l2-table',
  offset,
  snapshot: l1.snapshot,
  guestOffset: index * l1.coverage!,
  coverage: geometry.clusterSize,
})

/** The snapshot table, for findings of the entry of `snapshot`. */
export const snapshotTable = ({ header }: Image, snapshot?: Snapshot): Table => ({
  structure: 'snapshot-table',
  offset: header.snapshotsOffset,
  snapshot,
})

/**
 * Where a finding is: the entry at `index` of a table, or without an index the table itself, refers to that range of the
 * file, or is wrong in it.
 */
export function placeIn(
  { structure, offset: start, snapshot, guestOffset, coverage }: Table,
  index?: number,
  offset?: number,
  bytes?: number,
): FindingDetails {
  const owner: FindingOwner = {
    structure,
    offset: start,
    ...(index !== undefined && { index }),
    ...(snapshot && { snapshot: { id: decodeName(snapshot.id), name: decodeName(snapshot.name) } }),
    ...(coverage && index !== undefined && { guestOffset: guestOffset! + index * coverage }),
  }
  return { owner, ...(offset !== undefined && { offset }), ...(bytes !== undefined && { bytes }) }
}
