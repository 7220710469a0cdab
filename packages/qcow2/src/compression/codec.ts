/** Compressed clusters. The code for raw deflate and zstd is loaded with the first cluster of each. */
import { BlockError } from '@vmblock/block-core/driver'
import type { CompressionType } from '../format/header.ts'
import { loadZlib, loadZstd } from './load-codec.ts'

/** Compresses and decompresses whole clusters. */
export interface ClusterCodec {
  /**
   * The cluster in `data`. Data behind the compressed stream is ignored: images record its length in whole
   * sectors, and the rest of the last may belong to another cluster.
   *
   * @param clusterSize bytes of the result; no more memory is allocated
   * @throws BlockError EIO if `data` does not give exactly that
   */
  decompress(data: Uint8Array, clusterSize: number): Promise<Uint8Array>
  /** `cluster` compressed; undefined if that saves nothing. */
  compress?(cluster: Uint8Array): Promise<Uint8Array | undefined>
}

/**
 * Codecs that replace those of this package where the application has better ones (the zlib of Node.js knows
 * zstd from 22.15 on).
 */
export type Codecs = Partial<Readonly<Record<CompressionType, ClusterCodec>>>

/** @param load loads the decompressor */
const lateCodec = (load: () => Promise<Pick<ClusterCodec, 'decompress'>>): ClusterCodec => ({
  async decompress(data, clusterSize) {
    const { decompress } = await load()
    try {
      return await decompress(data, clusterSize)
    } catch (cause) {
      throw new BlockError('EIO', 'A compressed cluster cannot be decompressed', { cause })
    }
  },
})

const zlib: ClusterCodec = {
  ...lateCodec(loadZlib),
  compress: async (cluster) => (await loadZlib()).compress(cluster),
}
const zstd = lateCodec(loadZstd)

/** The codec for an image's compression type. */
export const codecFor = (type: CompressionType, codecs: Codecs = {}): ClusterCodec =>
  codecs[type] ?? (type === 'zlib' ? zlib : zstd)
