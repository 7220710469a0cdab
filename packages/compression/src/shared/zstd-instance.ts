/** zstd in WebAssembly: an instance has memory of its own, and does one block at a time. */

/** Compresses and decompresses at once, on the thread that calls. */
export interface Zstd {
  /** Makes a frame. @param into takes it @returns its bytes: as many as the block has if it does not fit */
  compress(block: Uint8Array, into: Uint8Array): number
  /** Decodes a frame. @param into has room for what it may give @returns bytes @throws Error if it is broken, or gives more */
  decompress(frame: Uint8Array, into: Uint8Array): number
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
  const checked = (bytes: number): number => {
    if (at['h']!(bytes) !== 0) throw new Error(`The zstd data is broken (error ${-bytes})`)
    return bytes
  }
  return {
    compress(block, into) {
      const bound = at['i']!(block.length)
      needs(block.length, bound)
      new Uint8Array(memory.buffer).set(block, input)
      const bytes = checked(at['l']!(encoder, output, bound, input, block.length, 0, 0, 3))
      if (bytes >= into.length) return block.length
      into.set(new Uint8Array(memory.buffer, output, bytes))
      return bytes
    },
    decompress(frame, into) {
      needs(frame.length, into.length)
      new Uint8Array(memory.buffer).set(frame, input)
      const bytes = checked(at['q']!(decoder, output, into.length, input, frame.length, 0, 0))
      into.set(new Uint8Array(memory.buffer, output, bytes))
      return bytes
    },
  }
}
