/** zstd through Node's zlib (22.15 and later), on the threads of its pool. */
import * as zlib from 'node:zlib'
import { decodeFrames } from '../shared/zstd-frames.ts'

type Finished = (error: Error | null, result: Uint8Array) => void

/** The types are those of Node 20. */
const { zstdCompress, zstdDecompress, constants } = zlib as unknown as {
  zstdCompress(data: Uint8Array, options: object, finished: Finished): void
  zstdDecompress(data: Uint8Array, options: object, finished: Finished): void
  constants: { readonly ZSTD_c_compressionLevel: number }
}

/** @param start begins the work, and calls back */
const finished = (start: (finished: Finished) => void): Promise<Uint8Array> =>
  new Promise((resolve, reject) => start((error, result) => (error ? reject(error) : resolve(result))))

/** @see Codec.decompress */
export const decompress = (data: Uint8Array, size: number): Promise<Uint8Array> =>
  decodeFrames(data, size, (frame, room) =>
    finished((done) => zstdDecompress(frame, { maxOutputLength: room, chunkSize: Math.max(room, 64) }, done)),
  )

/** @see Codec.compress */
export async function compress(block: Uint8Array): Promise<Uint8Array | undefined> {
  const options = {
    params: { [constants.ZSTD_c_compressionLevel]: 3 },
    // Known before it begins: so the frame is one segment, for which readers need no window.
    pledgedSrcSize: block.length,
    chunkSize: Math.max(block.length, 64),
  }
  const data = await finished((done) => zstdCompress(block, options, done))
  return data.length < block.length ? data : undefined
}
