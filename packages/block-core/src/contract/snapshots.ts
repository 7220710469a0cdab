/** Internal snapshots: what a driver is asked for. What it implements is in node-ops.ts. */

/** Which snapshot is meant: the first one with this id, or name, or both. At least one is given. */
export interface SnapshotChoice {
  readonly id?: string | undefined
  readonly name?: string | undefined
}

/** What is stored with a new snapshot. */
export interface SnapshotSettings {
  readonly name: string
  /** Time of creation: seconds since 1970 (32 bits). */
  readonly dateSec: number
  /** The nanoseconds of it. */
  readonly dateNsec: number
  /** How long the machine had run, in nanoseconds. */
  readonly vmClockNsec: bigint
  /** Bytes of machine state, which were written to the area of the VM state before. */
  readonly vmStateSize: number
  /** How many instructions the machine had executed, if it counts them. */
  readonly icount?: bigint | undefined
}
