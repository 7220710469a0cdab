/** Loads the parts of the driver, which bundlers keep out of an application's start. */
import { loadOnce } from '@vmblock/block-core/driver'

/** What opens images, reads and writes. @throws BlockError EIO if the code cannot be loaded */
export const loadOpen = loadOnce('vmdk images', () => import('./operations.ts'))

/** @throws BlockError EIO if the code cannot be loaded */
export const loadCreation = loadOnce('creating vmdk images', () => import('./create.ts'))
