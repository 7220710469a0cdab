/** Loads what few openings need. */
import { loadOnce } from '@vmblock/block-core/driver'

/** @throws BlockError EIO if the code cannot be loaded */
export const loadCheck = loadOnce('checking vmdk images', () => import('./check.ts'))
