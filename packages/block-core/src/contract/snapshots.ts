/** Internal snapshots: what a driver implements, and what it is asked for. */
import type { BlockChild } from './node.ts'
import type { NodeOps } from './node-ops.ts'
import type { SnapshotInfo } from './reports.ts'

/** Which snapshot is meant: the first one with this id, or name, or both. At least one is given. */
export interface SnapshotChoice {
  readonly id?: string | undefined
  readonly name?: string | undefined
}

/** What is stored with a new snapshot. */
export interface SnapshotSettings {
  readonly name: string
  /** Time of creation: seconds since 1970 (32 bits), and nanoseconds. */
  readonly dateSec: number
  readonly dateNsec: number
  /** How long the machine had run, in nanoseconds. */
  readonly vmClockNsec: bigint
  /** Bytes of machine state, which were written to the area of the VM state before. */
  readonly vmStateSize: number
  /** How many instructions the machine had executed, if it counts them. */
  readonly icount?: bigint | undefined
}

/**
 * The internal snapshots of one open image. `create`, `apply` and `delete` are all or nothing, also if power fails; the core
 * calls them with no request in flight, on a node that may write.
 */
export interface SnapshotOps {
  /**
   * Keeps the content of the disk. An image may have several snapshots of one name.
   *
   * @throws BlockError ENOTSUP if this image cannot have snapshots; EFBIG if there are too many; EINVAL if refcounts are too
   *   narrow; ENOSPC, and errors of the file
   */
  create(settings: SnapshotSettings): Promise<SnapshotInfo>
  /**
   * Gives the disk the content, the size and the machine state that it had; what it holds now is lost.
   *
   * @throws BlockError ENOENT; EINVAL, EFBIG if the snapshot is broken; ENOTSUP; ENOSPC, and errors of the file
   */
  apply(choice: SnapshotChoice): Promise<void>
  /**
   * Forgets a snapshot, and frees what only it needed.
   *
   * @throws BlockError ENOENT; EBUSY while it is open; EINVAL, EFBIG if it is broken; errors of the file
   */
  delete(choice: SnapshotChoice): Promise<void>
  /**
   * The operations of a read-only node that shows the snapshot, while the image is used on. The core ends its requests before
   * the image is changed as a whole.
   *
   * @param backing shows through where the snapshot holds nothing
   * @throws BlockError ENOENT; EINVAL, EFBIG if it is broken; ENOTSUP; errors of the file
   */
  open(choice: SnapshotChoice, backing: BlockChild | undefined): Promise<NodeOps>
}
