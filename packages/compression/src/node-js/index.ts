/**
 * The same as @vmblock/compression for Node.js: on the threads of its pool, and zstd on threads of our own where Node is older than
 * 22.15. So the event loop goes on, and several blocks are done at once.
 * @module
 */
import * as zlib from 'node:zlib'
import type { Codec } from '../shared/codec.ts'

export type { Codec } from '../shared/codec.ts'

/** Loads raw deflate, with the window of 4 KiB that QEMU's qcow2 has. */
export const loadDeflate = (): Promise<Codec> => import('./deflate.ts')

/** Loads zstd: level 3, one frame, no checksum. */
export const loadZstd = (): Promise<Codec> =>
  'zstdCompress' in zlib ? import('./zstd.ts') : import('./zstd-in-threads.ts')
