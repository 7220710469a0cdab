/**
 * zstd in pages: WebAssembly, which is several times as quick as JavaScript. Where a page forbids it (a policy without
 * `wasm-unsafe-eval`), fzstd still decompresses.
 */
import { Decompress } from 'fzstd'
import { decodeFrames } from '../shared/zstd-frames.ts'
import { compileZstd, makeZstd, type Zstd } from '../shared/zstd-instance.ts'

let loading: Promise<Zstd> | undefined

/** @throws Error where WebAssembly is forbidden */
function load(): Promise<Zstd> {
  loading ??= compileZstd().then(makeZstd)
  return loading
}

function decodeInJavaScript(frame: Uint8Array, room: number): Uint8Array {
  const content = new Uint8Array(room)
  let filled = 0
  const decoder = new Decompress((chunk) => {
    if (chunk.length > room - filled) throw new Error('The zstd data gives more than a cluster')
    content.set(chunk, filled)
    filled += chunk.length
  })
  decoder.push(frame, true)
  return content.subarray(0, filled)
}

/** @see Codec.decompress */
export async function decompress(data: Uint8Array, size: number): Promise<Uint8Array> {
  const zstd = await load().catch(() => undefined)
  return decodeFrames(data, size, zstd ? (frame, room) => zstd.decompress(frame, room) : decodeInJavaScript)
}

/** @see Codec.compress */
export async function compress(block: Uint8Array): Promise<Uint8Array | undefined> {
  const data = (await load()).compress(block)
  return data.length < block.length ? data : undefined
}
