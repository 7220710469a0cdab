/** Raw deflate through Node's zlib, on the threads of its pool. */
import { constants, createInflateRaw, deflateRaw, inflateRaw } from 'node:zlib'
import { DEFLATE, tooShort } from '../shared/deflate.ts'

/** Data that ends before its stream does is good if it gives a block. */
const INFLATE = { finishFlush: constants.Z_SYNC_FLUSH }

/** @see Codec.decompress */
export async function decompress(data: Uint8Array, size: number): Promise<Uint8Array> {
  const block = await inflateAtOnce(data, size).catch((error: NodeJS.ErrnoException) => {
    // A stream that would give more than a block counts as one that ends there.
    if (error.code !== 'ERR_BUFFER_TOO_LARGE') throw error
    return firstBytes(data, size)
  })
  if (block.length < size) throw tooShort()
  return block
}

const inflateAtOnce = (data: Uint8Array, size: number): Promise<Uint8Array> =>
  new Promise((resolve, reject) =>
    inflateRaw(data, { ...INFLATE, maxOutputLength: size, chunkSize: Math.max(size, 64) }, (error, block) =>
      error ? reject(error) : resolve(block),
    ),
  )

async function firstBytes(data: Uint8Array, size: number): Promise<Uint8Array> {
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
  return into.subarray(0, filled)
}

/** @see Codec.compress */
export const compress = (block: Uint8Array): Promise<Uint8Array | undefined> =>
  new Promise((resolve, reject) =>
    deflateRaw(block, { ...DEFLATE, chunkSize: Math.max(block.length, 64) }, (error, data) =>
      error ? reject(error) : resolve(data.length < block.length ? data : undefined),
    ),
  )
