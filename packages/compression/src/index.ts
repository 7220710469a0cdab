/**
 * Compressed clusters of disk images, for pages: pako, zstd in WebAssembly. In Node.js the same names stand for its own zlib.
 * @module
 */
import type { Codec } from './shared/codec.ts'

export type { Codec, Extent, ReadData } from './shared/codec.ts'

/**
 * Loads raw deflate, with the window of 4 KiB that QEMU's qcow2 has.
 *
 * @throws Error if the code cannot be loaded
 */
export const loadDeflate = (): Promise<Codec> => import('./pages/deflate.ts')

/**
 * Loads zstd: level 3, one frame, no checksum.
 *
 * @throws Error if the code cannot be loaded
 */
export const loadZstd = (): Promise<Codec> => import('./pages/zstd.ts')

/**
 * Loads what reads blocks in a zlib container: a header, deflate with any window, and a checksum, which must be that of a
 * block of exactly the size asked for.
 *
 * @throws Error if the code cannot be loaded
 */
export async function loadZlib(): Promise<Pick<Codec, 'decompress'>> {
  const [deflate, { zlibOver }] = await Promise.all([
    import('./pages/deflate.ts'),
    import('./shared/zlib.ts'),
  ])
  return zlibOver(deflate)
}
