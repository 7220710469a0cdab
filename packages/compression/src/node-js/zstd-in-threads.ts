/** zstd in WebAssembly on threads of Node.js, for a Node without zstd: the event loop goes on meanwhile. */
import { SMALL } from '../shared/codec.ts'
import { decodeFrames } from '../shared/zstd-frames.ts'
import { makeZstd, type Zstd } from '../shared/zstd-instance.ts'
import { Threads } from './threads.ts'

const threads = new Threads()

let own: Promise<Zstd> | undefined

/** @see Codec.decompress */
export async function decompress(data: Uint8Array, size: number, isAlone = false): Promise<Uint8Array> {
  if (isAlone && size <= SMALL) {
    own ??= threads.module.then(makeZstd)
    const zstd = await own
    return decodeFrames(data, size, (frame, room) => zstd.decompress(frame, room))
  }
  return decodeFrames(data, size, (frame, room) => threads.run({ kind: 'decompress', data: frame, room }))
}

/** @see Codec.compress */
export async function compress(block: Uint8Array): Promise<Uint8Array | undefined> {
  const data = await threads.run({ kind: 'compress', data: block, room: 0 })
  return data.length < block.length ? data : undefined
}
