/**
 * The doors to code that most openings never need, which bundlers keep out of what an application starts with. Who goes
 * through one does so before anything is changed: offline, a part may not be there.
 */
import { loadOnce } from '@vmblock/block-core'

/** @throws BlockError EIO when the code cannot be had */
export const loadMaintenance = loadOnce(
  'creating, repairing and changing qcow2 images',
  () => import('../maintenance/maintenance.ts'),
)
