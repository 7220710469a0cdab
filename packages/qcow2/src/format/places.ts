/** Where things are in the image file. */

/** Host bytes. */
export interface HostRange {
  readonly offset: number
  readonly bytes: number
}

/** What snapshots keep in the file. */
export interface SnapshotPlaces {
  readonly table: readonly HostRange[]
  /** Their L1 tables, in order. */
  readonly l1Tables: readonly HostRange[]
}
