/** Compressed clusters through Node's own zlib and zstd, on the threads of its pool: quicker than the streams of pages. */
import * as zlib from 'node:zlib'
import { BlockError } from '@vmblock/block-core'

/** Data that ends before its stream does is good if it gives a cluster. */
const INFLATE = { finishFlush: zlib.constants.Z_SYNC_FLUSH }

/** The first `clusterSize` bytes that `data` gives. */
type Decompress = (data: Uint8Array, clusterSize: number) => Promise<Uint8Array>

/** @param decompress gives at most a cluster; its errors become EIO */
const codecOf = (decompress: Decompress): { readonly decompress: Decompress } => ({
  async decompress(data, clusterSize) {
    try {
      const cluster = await decompress(data, clusterSize)
      if (cluster.length < clusterSize) throw new Error('The compressed data is too short')
      return cluster
    } catch (cause) {
      throw new BlockError('EIO', 'A compressed cluster cannot be decompressed', { cause })
    }
  },
})

/** What `stream` makes of `data`, up to `bytes` bytes. What follows them is not looked at. */
async function firstBytes(
  stream: NodeJS.ReadWriteStream,
  data: Uint8Array,
  bytes: number,
): Promise<Uint8Array> {
  const into = new Uint8Array(bytes)
  let filled = 0
  stream.end(data)
  for await (const piece of stream as AsyncIterable<Uint8Array>) {
    const wanted = piece.subarray(0, bytes - filled)
    into.set(wanted, filled)
    filled += wanted.length
    // Leaving the loop ends the stream.
    if (filled === bytes) break
  }
  return into.subarray(0, filled)
}

const inflateAtOnce = (data: Uint8Array, clusterSize: number): Promise<Uint8Array> =>
  new Promise((resolve, reject) =>
    zlib.inflateRaw(data, { ...INFLATE, maxOutputLength: clusterSize }, (error, cluster) =>
      error ? reject(error) : resolve(cluster),
    ),
  )

const inflate = codecOf((data, clusterSize) =>
  inflateAtOnce(data, clusterSize).catch((error: NodeJS.ErrnoException) => {
    // A stream that would give more than a cluster counts as one that ends there, as it does for QEMU.
    if (error.code !== 'ERR_BUFFER_TOO_LARGE') throw error
    return firstBytes(zlib.createInflateRaw(INFLATE), data, clusterSize)
  }),
)

/** From Node 22.15 on; the types are those of Node 20. */
const { createZstdDecompress } = zlib as {
  createZstdDecompress?: (options: { chunkSize: number }) => NodeJS.ReadWriteStream
}

/** The codecs of the Node that runs; for a type that it does not know the driver has its own. */
export const zlibCodecs = {
  zlib: inflate,
  ...(createZstdDecompress && {
    // The length of the data is known in sectors only, and what lies behind its end is no zstd, of which a call would complain.
    zstd: codecOf((data, clusterSize) =>
      firstBytes(createZstdDecompress({ chunkSize: clusterSize }), data, clusterSize),
    ),
  }),
}
