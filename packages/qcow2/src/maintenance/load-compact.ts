/** The door to the code that moves clusters. */
import { loadOnce } from '@vmblock/block-core/driver'

/** @throws BlockError EIO if the code cannot be loaded */
export const loadCompact = loadOnce('compacting qcow2 images', () => import('../compact/part.ts'))
