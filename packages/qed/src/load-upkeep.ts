/** Loads code that most openings never need, and that bundlers keep out of an application's start. */
import { loadOnce } from '@vmblock/block-core/driver'

/** @throws BlockError EIO if the code cannot be loaded */
export const loadUpkeep = loadOnce('repairing and changing qed images', () => import('./upkeep.ts'))

/** @throws BlockError EIO if the code cannot be loaded */
export const loadCreation = loadOnce('creating qed images', () => import('./create.ts'))
