/** Loads code that a page does not need at its start, and that bundlers keep out of it. */
import { loadOnce } from '@vmblock/block-core/driver'

/** @throws BlockError EIO if the code cannot be loaded */
export const loadOpening = loadOnce('opening vhdx images', () => import('./open-image.ts'))

/** @throws BlockError EIO if the code cannot be loaded */
export const loadCreation = loadOnce('creating vhdx images', () => import('./create.ts'))

/** @throws BlockError EIO if the code cannot be loaded */
export const loadCheck = loadOnce('checking vhdx images', () => import('./check.ts'))
