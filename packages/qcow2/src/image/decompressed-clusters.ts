/**
 * The compressed clusters that were decompressed last. A guest reads a cluster in pieces, each of which would cost a
 * read of the file and a decompression of the whole cluster; pieces that are asked for at the same time share one, too.
 */

/** Bytes of clusters that are kept at least, where clusters are small; larger ones are kept by {@link LEAST}. */
const KEPT_BYTES = 2 ** 20
/** Clusters that are kept, however large: a few sequential readers do not push out each other's. */
const LEAST = 4
interface Kept {
  /** Length in bytes of the compressed data: images of strangers may use one offset in different ways. */
  readonly compressedBytes: number
  readonly cluster: Promise<Uint8Array>
}

/** See the head of this file. */
export class DecompressedClusters {
  /**
   * Host offset in bytes at which the data of the next cluster that is written compressed goes, in a host cluster that has others
   * (packing.ts); 0: it begins a host cluster.
   */
  nextPlace = 0
  readonly #clusterSize: number
  readonly #most: number
  /** By host offset of the compressed data, in bytes; the one used last is last. */
  readonly #kept = new Map<number, Kept>()

  /** @param clusterSize bytes */
  constructor(clusterSize: number) {
    this.#clusterSize = clusterSize
    this.#most = Math.max(LEAST, Math.floor(KEPT_BYTES / clusterSize))
  }

  /**
   * The cluster whose compressed data lies at that host range. The caller must not change it.
   *
   * @param load reads and decompresses it; what it throws, every request for the cluster throws that came meanwhile
   */
  get(hostOffset: number, compressedBytes: number, load: () => Promise<Uint8Array>): Promise<Uint8Array> {
    let kept = this.#kept.get(hostOffset)
    this.#kept.delete(hostOffset)
    if (kept?.compressedBytes !== compressedBytes) kept = this.#load(hostOffset, compressedBytes, load)
    this.#kept.set(hostOffset, kept)
    if (this.#kept.size > this.#most) {
      const [oldest] = this.#kept.keys()
      this.#kept.delete(oldest!)
    }
    return kept.cluster
  }

  #load(hostOffset: number, compressedBytes: number, load: () => Promise<Uint8Array>): Kept {
    const cluster = load()
    const kept = { compressedBytes, cluster }
    // A failure is not kept: the next request tries again.
    cluster.catch(() => {
      if (this.#kept.get(hostOffset) === kept) this.#kept.delete(hostOffset)
    })
    return kept
  }

  /** A host cluster, by its index, became free: what it held may be overwritten. */
  forget(hostCluster: number): void {
    const start = hostCluster * this.#clusterSize
    const end = start + this.#clusterSize
    if (this.nextPlace > start && this.nextPlace < end) this.nextPlace = 0
    for (const [offset, { compressedBytes }] of this.#kept)
      if (offset < end && offset + compressedBytes > start) this.#kept.delete(offset)
  }

  clear(): void {
    this.nextPlace = 0
    this.#kept.clear()
  }
}
