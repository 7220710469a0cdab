/**
 * Loads code that most openings never need, and that bundlers keep out of an application's start. Callers
 * load a part before they change anything: offline, it may not be available.
 */
import { loadOnce } from '@vmblock/block-core/driver'

/** @throws BlockError EIO if the code cannot be loaded */
export const loadMaintenance = loadOnce(
  'creating, repairing and changing qcow2 images',
  () => import('./maintenance/maintenance.ts'),
)
