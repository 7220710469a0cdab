/**
 * The same as @vmblock/compression for Node.js: on threads. So the event loop goes on, and several blocks are done at once.
 * @module
 */
import type { Codec } from '../shared/codec.ts'

export type { Codec, Extent, ReadData } from '../shared/codec.ts'

/** Loads raw deflate, with the window of 4 KiB that QEMU's qcow2 has. */
export const loadDeflate = (): Promise<Codec> => import('./deflate.ts')

/** Loads zstd: level 3, one frame, no checksum. */
export const loadZstd = (): Promise<Codec> => import('./zstd.ts')

/**
 * Loads what reads blocks in a zlib container: a header, deflate with any window, and a checksum, which must be that of a
 * block of exactly the size asked for.
 *
 * @throws Error if the code cannot be loaded
 */
export async function loadZlib(): Promise<Pick<Codec, 'decompress'>> {
  const [deflate, { zlibOver }] = await Promise.all([import('./deflate.ts'), import('../shared/zlib.ts')])
  return zlibOver(deflate)
}
