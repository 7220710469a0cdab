/**
 * zstd in pages: WebAssembly, which is several times as quick as JavaScript. Where a page forbids it (a policy without
 * `wasm-unsafe-eval`), fzstd still decompresses.
 */
import { Decompress } from 'fzstd'
import { packed } from '../shared/packed.ts'
import { ZSTD } from '../shared/zstd-binary.ts'
import { decodeFrames } from '../shared/zstd-frames.ts'
import { makeZstd, type Zstd } from '../shared/zstd-instance.ts'

async function compileZstd(): Promise<WebAssembly.Module> {
  const packed = Uint8Array.from(atob(ZSTD), (character) => character.charCodeAt(0))
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate-raw'))
  return WebAssembly.compile(await new Response(stream).arrayBuffer())
}

let loading: Promise<Zstd> | undefined

/** @throws Error where WebAssembly is forbidden */
function load(): Promise<Zstd> {
  loading ??= compileZstd().then(makeZstd)
  return loading
}

function decodeInJavaScript(frame: Uint8Array, into: Uint8Array): number {
  let filled = 0
  const decoder = new Decompress((chunk) => {
    if (chunk.length > into.length - filled) throw new Error('The zstd data gives more than a cluster')
    into.set(chunk, filled)
    filled += chunk.length
  })
  decoder.push(frame, true)
  return filled
}

/** @see Codec.decompress */
export async function decompress(data: Uint8Array, size: number): Promise<Uint8Array> {
  const block = new Uint8Array(size)
  await decompressInto(data, block)
  return block
}

/** Fills `into` with the block in `data`. */
async function decompressInto(data: Uint8Array, into: Uint8Array): Promise<void> {
  const zstd = await load().catch(() => undefined)
  await decodeFrames(data, into, zstd ? (frame, room) => zstd.decompress(frame, room) : decodeInJavaScript)
}

/** @see Codec.readPacked */
export const readPacked = packed(decompressInto)

/** @see Codec.compress */
export async function compress(block: Uint8Array): Promise<Uint8Array | undefined> {
  // What does not fit saves nothing.
  const into = new Uint8Array(block.length)
  const bytes = (await load()).compress(block, into)
  return bytes < block.length ? into.subarray(0, bytes) : undefined
}
