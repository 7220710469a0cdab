/** The doors to parts that are loaded when they are first needed, and few applications need. */
import { loadOnce, type SnapshotOps } from '@vmblock/block-core/driver'
import type { Image } from '../image/image.ts'

const loadSnapshots = loadOnce(
  'internal snapshots of qcow2 images',
  () => import('../snapshots/operations.ts'),
)

/** Making, applying, deleting and opening internal snapshots. @throws BlockError EIO if the code cannot be loaded */
export const snapshots = async (image: Image): Promise<SnapshotOps> =>
  (await loadSnapshots()).snapshotOps(image)
