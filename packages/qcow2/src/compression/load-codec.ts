/** The doors to the decompressors, which are loaded with the first compressed cluster. */
import { loadOnce } from '@vmblock/block-core/driver'

/** @throws BlockError EIO when the code cannot be had */
export const loadZlib = loadOnce('decompressing clusters', () => import('./zlib.ts'))

/** @throws BlockError EIO when the code cannot be had */
export const loadZstd = loadOnce('decompressing zstd', () => import('./zstd.ts'))
