/** Compressed clusters: raw deflate through the platform's own streams, zstd through a decoder loaded when needed. */
import { BlockError } from '@vmblock/block-core'
import type { CompressionType } from './format/header.ts'
import { loadZstd } from './load-part.ts'

/** Compresses and decompresses whole clusters. */
export interface ClusterCodec {
  /**
   * The cluster in `data`. Data behind the compressed stream is ignored: images know its length only in
   * sectors, and the rest of the last may belong to another cluster.
   *
   * @param clusterSize bytes of the result; memory is never taken for more
   * @throws BlockError EIO when `data` does not give exactly that
   */
  decompress(data: Uint8Array, clusterSize: number): Promise<Uint8Array>
  /** `cluster` compressed, or undefined where that saves nothing. */
  compress?(cluster: Uint8Array): Promise<Uint8Array | undefined>
}

/** Codecs that replace those of this package, as a host has better ones (Node's zlib knows zstd from 22.15 on). */
export type Codecs = Partial<Readonly<Record<CompressionType, ClusterCodec>>>

const broken = (cause?: unknown): BlockError =>
  new BlockError('EIO', 'A compressed cluster cannot be decompressed', { cause })

/** Fills `into` from a stream, and stops as soon as it is full. @returns bytes filled */
async function fill(into: Uint8Array, reader: ReadableStreamDefaultReader<Uint8Array>): Promise<number> {
  let filled = 0
  while (filled < into.length) {
    const { value, done } = await reader.read()
    if (done) break
    const wanted = value.subarray(0, into.length - filled)
    into.set(wanted, filled)
    filled += wanted.length
  }
  return filled
}

async function inflate(data: Uint8Array, clusterSize: number): Promise<Uint8Array> {
  const { readable, writable } = new DecompressionStream('deflate-raw')
  const reader = readable.getReader() as ReadableStreamDefaultReader<Uint8Array>
  const writer = writable.getWriter()
  const cluster = new Uint8Array(clusterSize)
  // The stream's errors come out of its readable side as well: here only the end of the input matters.
  // `slice` because a stream may take the array's buffer away.
  const fed = writer
    .write(data.slice())
    .then(() => writer.close())
    .catch(() => undefined)
  try {
    if ((await fill(cluster, reader)) < clusterSize) throw broken()
    return cluster
  } catch (error) {
    throw error instanceof BlockError ? error : broken(error)
  } finally {
    await reader.cancel().catch(() => undefined)
    await fed
  }
}

async function deflate(cluster: Uint8Array): Promise<Uint8Array | undefined> {
  const stream = new Blob([cluster.slice()]).stream().pipeThrough(new CompressionStream('deflate-raw'))
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer())
  return bytes.length < cluster.length ? bytes : undefined
}

const zlib: ClusterCodec = { decompress: inflate, compress: deflate }

const zstd: ClusterCodec = {
  async decompress(data, clusterSize) {
    const { decompressZstd } = await loadZstd()
    try {
      return await decompressZstd(data, clusterSize)
    } catch (error) {
      throw broken(error)
    }
  },
}

/** The codec for an image's compression type. */
export const codecFor = (type: CompressionType, codecs: Codecs = {}): ClusterCodec =>
  codecs[type] ?? (type === 'zlib' ? zlib : zstd)
