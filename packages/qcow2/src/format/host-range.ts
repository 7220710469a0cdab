/** Ranges of the image file. */

/** Host bytes. */
export interface HostRange {
  readonly offset: number
  readonly bytes: number
}

/** The ranges that snapshots keep in the file. */
export interface SnapshotRanges {
  readonly table: readonly HostRange[]
  /** Their L1 tables, in order. */
  readonly l1Tables: readonly HostRange[]
}
