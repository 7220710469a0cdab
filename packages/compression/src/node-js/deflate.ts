/** Raw deflate through Node's zlib: on threads of our own to inflate many blocks, else on those of Node's pool. */
import { constants, createInflateRaw, deflateRaw, inflateRaw, inflateRawSync } from 'node:zlib'
import { SMALL } from '../shared/codec.ts'
import { DEFLATE, tooShort } from '../shared/deflate.ts'
import { packed } from '../shared/packed.ts'
import { NoThreads, Threads, type Work } from './threads.ts'

/** Data that ends before its stream does is good if it gives a block. */
const INFLATE = { finishFlush: constants.Z_SYNC_FLUSH }

/** With room for more than the block, a stream that ends with it is known to end. */
const optionsFor = (size: number) => ({ ...INFLATE, maxOutputLength: size, chunkSize: size + 64 })

/** Blocks that are being inflated. */
let running = 0

/** @see Codec.decompress */
export async function decompress(data: Uint8Array, size: number): Promise<Uint8Array> {
  running++
  try {
    const isAlone = running === 1 && size <= SMALL
    return whole(isAlone ? inflateRawSync(data, optionsFor(size)) : await inflate(data, size), size)
  } catch (error) {
    return firstBytesIfTooLong(error, data, size)
  } finally {
    running--
  }
}

/** Fills `into` with the block in `data`. */
async function decompressInto(data: Uint8Array, into: Uint8Array): Promise<void> {
  running++
  try {
    if ((await threads.run(0, data, into)) < into.length) throw tooShort()
  } catch (error) {
    const size = into.length
    into.set(
      error instanceof NoThreads
        ? whole(await inflate(data, size), size)
        : await firstBytesIfTooLong(error, data, size),
    )
  } finally {
    running--
  }
}

const inflate = (data: Uint8Array, size: number): Promise<Uint8Array> =>
  new Promise((resolve, reject) =>
    inflateRaw(data, optionsFor(size), (error, block) => (error ? reject(error) : resolve(block))),
  )

function whole(block: Uint8Array, size: number): Uint8Array {
  if (block.length < size) throw tooShort()
  return block
}

/** A stream that would give more than a block counts as one that ends there. */
async function firstBytesIfTooLong(error: unknown, data: Uint8Array, size: number): Promise<Uint8Array> {
  if ((error as NodeJS.ErrnoException).code !== 'ERR_BUFFER_TOO_LARGE') throw error
  const into = new Uint8Array(size)
  let filled = 0
  const stream = createInflateRaw(INFLATE)
  stream.end(data)
  for await (const piece of stream as AsyncIterable<Uint8Array>) {
    const wanted = piece.subarray(0, size - filled)
    into.set(wanted, filled)
    filled += wanted.length
    // Leaving the loop ends the stream.
    if (filled === size) break
  }
  return whole(into.subarray(0, filled), size)
}

/** @see Codec.readPacked */
export const readPacked = packed(decompressInto)

/** @see Codec.compress */
export const compress = (block: Uint8Array): Promise<Uint8Array | undefined> =>
  new Promise((resolve, reject) =>
    deflateRaw(block, { ...DEFLATE, chunkSize: Math.max(block.length, 64) }, (error, data) =>
      error ? reject(error) : resolve(data.length < block.length ? data : undefined),
    ),
  )

/** Runs in a thread; refers to nothing outside of itself. */
const makeWork = async (flush: number): Promise<readonly Work[]> => {
  // biome-ignore lint/style/noRestrictedGlobals: it runs in Node.js alone, and can import nothing
  const zlib = process.getBuiltinModule('node:zlib')
  return [
    (data, into) => {
      const size = into.length
      const block = zlib.inflateRawSync(data, {
        finishFlush: flush,
        maxOutputLength: size,
        chunkSize: size + 64,
      })
      into.set(block)
      return block.length
    },
  ]
}

const threads = new Threads({
  name: 'inflate',
  makeWork: String(makeWork),
  load: async () => constants.Z_SYNC_FLUSH,
})
