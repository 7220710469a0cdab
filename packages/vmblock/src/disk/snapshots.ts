/** The snapshots inside the image of a disk, as applications use them. The code for them is loaded late. */
import type { Disk } from '@vmblock/block-core/open'
import type { DiskSnapshot } from '../images/describe.ts'
import type { SnapshotCreation } from '../images/snapshots.ts'
import type { loadImages } from './load-images.ts'
import type { VirtualDisk } from './virtual-disk.ts'

/** Which snapshot is meant: the first of that name, or the one with that id. */
export type SnapshotReference = string | { readonly id?: string; readonly name?: string }

/**
 * The snapshots inside the image. Requests to the disk wait while one is made, applied or deleted; each of these is all or
 * nothing, also if power fails.
 */
export interface DiskSnapshots {
  /** The snapshots, in order. @throws BlockError of reading them; ENOMEDIUM when closed */
  list(): Promise<DiskSnapshot[]>
  /**
   * Keeps what the disk holds: the image then takes space only for what is written afterwards.
   *
   * @throws BlockError EINVAL for wrong arguments; ENOTSUP if the format has no snapshots; EPERM if the disk is read-only;
   *   ENOSPC, EIO; ENOMEDIUM when closed
   */
  create(name: string, options?: SnapshotCreation): Promise<DiskSnapshot>
  /** Gives the disk the content and size that it had; what it holds now is lost. @throws as `create`; ENOENT */
  apply(snapshot: SnapshotReference): Promise<void>
  /** Forgets a snapshot, and frees what only it needed. @throws as `create`; ENOENT; EBUSY while it is open */
  delete(snapshot: SnapshotReference): Promise<void>
  /**
   * Opens a snapshot as a read-only disk, which is closed by itself; until then this disk cannot be closed (EBUSY).
   *
   * @throws as `create`; ENOENT
   */
  open(snapshot: SnapshotReference): Promise<VirtualDisk>
}

/** What the snapshots of a disk need of it. */
export interface SnapshotsParts {
  /** @throws BlockError ENOMEDIUM */
  node(): Disk
  readonly load: typeof loadImages
  diskOf(node: Disk): VirtualDisk
}

/** The snapshots of a disk. */
export const diskSnapshots = ({ node, load, diskOf }: SnapshotsParts): DiskSnapshots => ({
  list: async () => (await load()).listSnapshots(node()),
  create: async (name, options) => (await load()).createSnapshot(node(), name, options),
  apply: async (snapshot) => (await load()).snapshotsOf(node()).apply(snapshot),
  delete: async (snapshot) => (await load()).snapshotsOf(node()).delete(snapshot),
  open: async (snapshot) => diskOf(await (await load()).snapshotsOf(node()).open(snapshot)),
})
