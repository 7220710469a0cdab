/**
 * A set of cluster numbers that is large from the beginning and changes little: sorted numbers, and those
 * added and removed since. A `Set` of the 4 Mi clusters that the largest L1 table may name would take 140
 * MiB, this takes 32.
 */
import type { SnapshotRanges } from '../format/host-range.ts'

/** Numbers of clusters. */
export class ClusterSet {
  readonly #sorted: Float64Array
  readonly #added = new Set<number>()
  readonly #removed = new Set<number>()

  /** @param clusters in any order, with duplicates; the set keeps the array, and sorts it */
  constructor(clusters: Float64Array) {
    this.#sorted = clusters.sort()
  }

  /** Adds a cluster. */
  add(cluster: number): void {
    this.#removed.delete(cluster)
    this.#added.add(cluster)
  }

  /** Removes a cluster. */
  delete(cluster: number): void {
    this.#added.delete(cluster)
    this.#removed.add(cluster)
  }

  /** Whether one of `first` to `last`, both included, is in the set. */
  hasAny(first: number, last: number): boolean {
    for (let at = this.#indexFrom(first); at < this.#sorted.length && this.#sorted[at]! <= last; at++)
      if (!this.#removed.has(this.#sorted[at]!)) return true
    if (last - first < this.#added.size) {
      for (let cluster = first; cluster <= last; cluster++) if (this.#added.has(cluster)) return true
      return false
    }
    for (const cluster of this.#added) if (cluster >= first && cluster <= last) return true
    return false
  }

  /** Index of the first number that is not below `cluster`. */
  #indexFrom(cluster: number): number {
    let low = 0
    let high = this.#sorted.length
    while (low < high) {
      const middle = (low + high) >>> 1
      if (this.#sorted[middle]! < cluster) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** The clusters that the entries of a table point at, by index. */
export function clustersIn(
  table: DataView,
  clusterSize: number,
  offsetOf: (hi: number, lo: number) => number,
): ClusterSet {
  const clusters = new Float64Array(table.byteLength / 8)
  let count = 0
  for (let at = 0; at + 8 <= table.byteLength; at += 8) {
    const offset = offsetOf(table.getUint32(at), table.getUint32(at + 4))
    if (offset !== 0) clusters[count++] = Math.floor(offset / clusterSize)
  }
  // Most tables are nearly empty; a full one is not copied.
  return new ClusterSet(count < clusters.length / 2 ? clusters.slice(0, count) : clusters.subarray(0, count))
}

/** What snapshots keep in the file, as overlap checks need it. */
export interface SnapshotMetadata extends SnapshotRanges {
  /** Indexes of clusters that hold L2 tables, for each L1 table; empty if they are not protected. */
  readonly l2Clusters: readonly ClusterSet[]
}
