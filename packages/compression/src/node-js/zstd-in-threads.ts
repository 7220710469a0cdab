/** zstd in WebAssembly on threads of Node.js, for a Node without zstd: the event loop goes on meanwhile. */
import { decodeFrames } from '../shared/zstd-frames.ts'
import { Threads } from './threads.ts'

const threads = new Threads()

/** @see Codec.decompress */
export const decompress = (data: Uint8Array, size: number): Promise<Uint8Array> =>
  decodeFrames(data, size, (frame, room) => threads.run({ kind: 'decompress', data: frame, room }))

/** @see Codec.compress */
export async function compress(block: Uint8Array): Promise<Uint8Array | undefined> {
  const data = await threads.run({ kind: 'compress', data: block, room: 0 })
  return data.length < block.length ? data : undefined
}
