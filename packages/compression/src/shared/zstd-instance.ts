/** zstd in WebAssembly: an instance has memory of its own, and does one block at a time. */
import { ZSTD } from './zstd-binary.ts'

/** Compresses and decompresses at once, on the thread that calls. */
export interface Zstd {
  /** A frame. */
  compress(block: Uint8Array): Uint8Array
  /** The content of a frame. @param room the most bytes it may give @throws Error if it is broken, or gives more */
  decompress(frame: Uint8Array, room: number): Uint8Array
}

/** Compiles zstd. @throws Error where WebAssembly is forbidden */
export async function compileZstd(): Promise<WebAssembly.Module> {
  const packed = Uint8Array.from(atob(ZSTD), (character) => character.charCodeAt(0))
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('deflate-raw'))
  return WebAssembly.compile(await new Response(stream).arrayBuffer())
}

/**
 * Makes an instance. The function refers to nothing outside of itself: threads are given its text.
 *
 * The names of what the module exports are those of the build in zstd-binary.ts: f memory, g constructors, h isError, i compressBound,
 * j createCCtx, l compress_usingDict, n createDCtx, q decompress_usingDict, s malloc, t free.
 */
export async function makeZstd(module: WebAssembly.Module): Promise<Zstd> {
  let memory: WebAssembly.Memory
  const instance = await WebAssembly.instantiate(module, {
    a: {
      a: () => undefined,
      b: () => undefined,
      c: () => {
        throw new Error('zstd gave up')
      },
      d: () => 0,
      e: (bytes: number) => {
        try {
          memory.grow(Math.ceil(((bytes >>> 0) - memory.buffer.byteLength) / 65536))
          return 1
        } catch {
          return 0
        }
      },
    },
  })
  const at = instance.exports as unknown as Record<string, (...values: number[]) => number>
  memory = instance.exports['f'] as WebAssembly.Memory
  at['g']!()
  const encoder = at['j']!()
  const decoder = at['n']!()
  let [input, inputBytes, output, outputBytes] = [0, 0, 0, 0]
  const needs = (given: number, taken: number): void => {
    if (given <= inputBytes && taken <= outputBytes) return
    at['t']!(input)
    at['t']!(output)
    inputBytes = Math.max(given, inputBytes)
    outputBytes = Math.max(taken, outputBytes)
    input = at['s']!(inputBytes)
    output = at['s']!(outputBytes)
    if (input !== 0 && output !== 0) return
    inputBytes = outputBytes = 0
    throw new Error('zstd has no memory')
  }
  const resultOf = (bytes: number): Uint8Array => {
    if (at['h']!(bytes) !== 0) throw new Error(`The zstd data is broken (error ${-bytes})`)
    return new Uint8Array(memory.buffer, output, bytes).slice()
  }
  return {
    compress(block) {
      const bound = at['i']!(block.length)
      needs(block.length, bound)
      new Uint8Array(memory.buffer).set(block, input)
      return resultOf(at['l']!(encoder, output, bound, input, block.length, 0, 0, 3))
    },
    decompress(frame, room) {
      needs(frame.length, room)
      new Uint8Array(memory.buffer).set(frame, input)
      return resultOf(at['q']!(decoder, output, room, input, frame.length, 0, 0))
    },
  }
}
