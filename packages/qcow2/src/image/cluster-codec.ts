/** The codecs of compressed clusters. Their code is loaded with the first cluster of each type. */
import { BlockError, isBlockError, loadOnce } from '@vmblock/block-core/driver'
import { type Codec, loadDeflate, loadZstd } from '@vmblock/compression'
import type { CompressionType } from '../format/header.ts'

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
  /**
   * Reads and decompresses clusters whose data lies together: in one read, and several at the same time. If absent, they are read one
   * by one.
   *
   * @throws BlockError as {@link decompress} does; what `read` throws
   */
  readPacked?: Codec['readPacked']
  /** `cluster` compressed, in fewer bytes than it has; undefined if that saves nothing. Several may run at once. */
  compress?(cluster: Uint8Array): Promise<Uint8Array | undefined>
}

/** Codecs that replace those of this package where the application has better ones. */
export type Codecs = Partial<Readonly<Record<CompressionType, ClusterCodec>>>

/** @param load loads the codec @throws BlockError EIO when its code cannot be had */
const lateCodec = (load: () => Promise<Codec>): Required<ClusterCodec> => ({
  decompress: async (data, clusterSize) => (await load()).decompress(data, clusterSize).catch(broken),
  readPacked: async (...given) => (await load()).readPacked(...given).catch(broken),
  compress: async (cluster) => (await load()).compress(cluster),
})

function broken(cause: unknown): never {
  if (isBlockError(cause)) throw cause
  throw new BlockError('EIO', 'A compressed cluster cannot be decompressed', { cause })
}

const zlib = lateCodec(loadOnce('compressed clusters', loadDeflate))
const zstd = lateCodec(loadOnce('zstd', loadZstd))

/** The codec for an image's compression type. */
export const codecFor = (type: CompressionType, codecs: Codecs = {}): ClusterCodec =>
  codecs[type] ?? (type === 'zlib' ? zlib : zstd)
