/** The door to the code for persistent bitmaps. */
import { loadOnce } from '@vmblock/block-core/driver'

/** @throws BlockError EIO if the code cannot be loaded */
export const loadBitmapCode = loadOnce('bitmaps of qcow2 images', () => import('./bitmaps.ts'))
