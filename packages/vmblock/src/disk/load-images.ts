/** The door to what few requests need. */
import { loadOnce } from '@vmblock/block-core/driver'

/** @throws BlockError EIO if the code cannot be loaded */
export const loadImages = loadOnce(
  'describing, checking and changing disks',
  () => import('../images/index.ts'),
)
