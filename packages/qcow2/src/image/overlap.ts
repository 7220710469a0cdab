/**
 * Overlap checks: no write may hit metadata that it is not meant for. A wrong refcount makes the allocator
 * hand out a table's cluster; these checks notice that before the table is overwritten. QEMU 7.2's classes,
 * order and messages (block/qcow2-refcount.c, qcow2_check_metadata_overlap), for the price of a few
 * comparisons per write: the clusters of L2 tables and refcount blocks are kept in sets.
 */
import { alignDown, alignUp, BlockError } from '@vmblock/block-core/driver'
import { Autoclear } from '../format/features.ts'
import type { Geometry } from '../format/geometry.ts'
import type { Header } from '../format/header.ts'
import type { HostRange } from '../format/host-range.ts'
import { l1Offset, refblockOffset } from '../format/l2-entry.ts'
import { Metadata } from '../format/metadata.ts'
import { type ClusterSet, clustersIn, type SnapshotMetadata } from './cluster-set.ts'
import type { Corruption } from './corruption.ts'
import type { ResidentTable } from './resident-table.ts'

/** QEMU's names, `qcow2_header` included, by the number of their bit. */
const NAMES = [
  'qcow2_header',
  'active L1 table',
  'active L2 table',
  'refcount table',
  'refcount block',
  'snapshot table',
  'inactive L1 table',
  'inactive L2 table',
  'bitmap directory',
]

/** Classes that are known only after the snapshot table was read. */
const OF_SNAPSHOTS = Metadata.snapshotTable | Metadata.inactiveL1 | Metadata.inactiveL2

const NO_SNAPSHOTS: SnapshotMetadata = { table: [], l1Tables: [], l2Clusters: [] }

/** The part of an open image that the checks read. */
export interface Guarded {
  readonly settings: { readonly nodeName: string; readonly overlapCheck: number }
  readonly header: Header
  readonly geometry: Geometry
  readonly l1: ResidentTable
  readonly refcountTable: ResidentTable
  readonly corruption: Pick<Corruption, 'stopped' | 'signal'>
  /** Where the metadata of snapshots is; it changes only with the list of snapshots. */
  snapshotMetadata(): Promise<SnapshotMetadata>
}

/** Knows where an image's metadata is, and refuses stray writes to it. */
export class OverlapChecks {
  readonly #image: Guarded
  /** Indexes of clusters with active L2 tables, and with refcount blocks; collected at the first check. */
  #l2Clusters: ClusterSet | undefined
  #refblockClusters: ClusterSet | undefined
  #snapshots: SnapshotMetadata | undefined

  constructor(image: Guarded) {
    this.#image = image
  }

  /** Called when the active L1 table points at an L2 table at this offset. */
  addL2Table(offset: number): void {
    this.#l2Clusters?.add(this.#clusterOf(offset))
  }
  /** Called when it no longer does. */
  removeL2Table(offset: number): void {
    this.#l2Clusters?.delete(this.#clusterOf(offset))
  }
  /** Called when the refcount table points at a block at this offset. */
  addRefblock(offset: number): void {
    this.#refblockClusters?.add(this.#clusterOf(offset))
  }
  /** Called when many entries changed: the sets are collected again. */
  forget(): void {
    this.#l2Clusters = undefined
    this.#refblockClusters = undefined
    this.#snapshots = undefined
  }

  /**
   * Checks whether host bytes [offset, offset + bytes) of the image file may be written.
   *
   * @param own classes that the write is meant for
   * @returns undefined if they may. Else a promise that rejects: with EIO if other metadata would be hit (the
   *   image is then marked corrupt), and with ENOMEDIUM after that has happened
   */
  guard(offset: number, bytes: number, own = 0): Promise<void> | undefined {
    const image = this.#image
    if (image.corruption.stopped)
      return Promise.reject(
        new BlockError('ENOMEDIUM', 'the image is corrupt, and no longer written', {
          node: image.settings.nodeName,
        }),
      )
    const classes = image.settings.overlapCheck & ~own
    if (classes === 0 || bytes === 0) return undefined
    if ((classes & OF_SNAPSHOTS) !== 0 && !this.#snapshots) {
      if (image.header.nbSnapshots > 0)
        return this.#loadSnapshots().then(() => this.guard(offset, bytes, own))
      this.#snapshots = NO_SNAPSHOTS
    }
    const hit = this.#find(offset, bytes, classes)
    return hit === 0 ? undefined : this.#refuse(hit, offset, bytes)
  }

  async #refuse(hit: number, offset: number, size: number): Promise<never> {
    const message = `Preventing invalid write on metadata (overlaps with ${NAMES[Math.log2(hit)]})`
    throw await this.#image.corruption.signal(message, true, { offset, size })
  }

  /** The first class that is hit, in QEMU's order; 0 if there is none. */
  #find(offset: number, bytes: number, classes: number): number {
    const { header, geometry, l1, refcountTable } = this.#image
    const { clusterSize } = geometry
    const checks = (bit: number): boolean => (classes & bit) !== 0
    if (checks(Metadata.mainHeader) && offset < clusterSize) return Metadata.mainHeader
    const start = alignDown(offset, clusterSize)
    const end = alignUp(offset + bytes, clusterSize)
    const meets = (at: number, length: number): boolean => length > 0 && at < end && start < at + length
    const meetsAny = (ranges: readonly HostRange[]): boolean =>
      ranges.some((range) => meets(range.offset, range.bytes))
    const { table, l1Tables, l2Clusters } = this.#snapshots ?? NO_SNAPSHOTS
    if (checks(Metadata.activeL1) && meets(header.l1TableOffset, l1.bytes.length)) return Metadata.activeL1
    if (checks(Metadata.refcountTable) && meets(header.refcountTableOffset, refcountTable.bytes.length))
      return Metadata.refcountTable
    if (checks(Metadata.snapshotTable) && meetsAny(table)) return Metadata.snapshotTable
    if (checks(Metadata.inactiveL1) && meetsAny(l1Tables)) return Metadata.inactiveL1
    const first = start / clusterSize
    const last = end / clusterSize - 1
    if (checks(Metadata.activeL2) && this.#activeL2().hasAny(first, last)) return Metadata.activeL2
    if (checks(Metadata.refcountBlock) && this.#refblocks().hasAny(first, last)) return Metadata.refcountBlock
    if (checks(Metadata.inactiveL2) && l2Clusters.some((clusters) => clusters.hasAny(first, last)))
      return Metadata.inactiveL2
    const { bitmaps } = header.extensions
    const hasBitmaps = bitmaps !== undefined && (header.autoclear & Autoclear.bitmaps) !== 0n
    if (checks(Metadata.bitmapDirectory) && hasBitmaps)
      if (meets(bitmaps.directoryOffset, bitmaps.directorySize)) return Metadata.bitmapDirectory
    return 0
  }

  #activeL2(): ClusterSet {
    this.#l2Clusters ??= clustersIn(this.#image.l1.view, this.#image.geometry.clusterSize, l1Offset)
    return this.#l2Clusters
  }

  #refblocks(): ClusterSet {
    this.#refblockClusters ??= clustersIn(
      this.#image.refcountTable.view,
      this.#image.geometry.clusterSize,
      refblockOffset,
    )
    return this.#refblockClusters
  }

  #clusterOf(offset: number): number {
    return Math.floor(offset / this.#image.geometry.clusterSize)
  }

  async #loadSnapshots(): Promise<void> {
    this.#snapshots = await this.#image.snapshotMetadata()
  }
}
