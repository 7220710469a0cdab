/**
 * Which entries refer to the clusters that are to be moved: a map from the end of a mapping back to its roots. Only of
 * a window of clusters, so that memory is bounded whatever the size of the image: a reference takes 16 bytes.
 */

/** A reference, as the way to its entry. Tables may move, and so the way counts, not the place in the file. */
export interface Reference {
  /** Index of the L1 table, the active one is 0; or {@link BITMAPS} and the index of a bitmap. */
  readonly root: number
  /**
   * From an L2 table: the guest cluster, counted from 0. From an L1 table: -1 minus the index of the entry. From the
   * table of a bitmap: the index.
   */
  readonly number: number
}

/** Roots from this number on are bitmaps. */
export const BITMAPS = 2 ** 31

/** References that are kept: 16 MiB. If there are more, the window begins later. */
const MOST = 2 ** 20

/** The references to the clusters of a window. */
export class ReferenceMap {
  readonly #clusters: Float64Array
  readonly #most: number
  /** Index of the first cluster whose references are all kept. */
  #first = 0
  #count = 0
  #index: Uint32Array = new Uint32Array(1024)
  #root: Uint32Array = new Uint32Array(1024)
  #number: Float64Array = new Float64Array(1024)
  /** After {@link group}: references in the order of clusters, and where those of each cluster begin. */
  #order: Uint32Array = new Uint32Array(0)
  #starts: Uint32Array = new Uint32Array(0)

  /** @param clusters indexes of the clusters in use, ascending */
  constructor(clusters: Float64Array, most = MOST) {
    this.#clusters = clusters
    this.#most = most
  }

  /** The clusters of the window: those whose references are all known. */
  get clusters(): Float64Array {
    return this.#clusters.subarray(this.#first)
  }

  /** Notes a reference to a cluster; those outside of the window do not count. */
  add(cluster: number, root: number, number: number): void {
    const index = this.#indexOf(cluster)
    if (index < this.#first) return
    if (this.#count === this.#most) this.#narrow()
    if (index < this.#first) return
    if (this.#count === this.#index.length) this.#grow()
    this.#index[this.#count] = index
    this.#root[this.#count] = root
    this.#number[this.#count++] = number
  }

  /** Called when all references were added. */
  group(): void {
    const starts = new Uint32Array(this.#clusters.length + 1)
    for (let i = 0; i < this.#count; i++) starts[this.#index[i]! + 1]!++
    for (let i = 1; i < starts.length; i++) starts[i]! += starts[i - 1]!
    const next = starts.slice()
    this.#order = new Uint32Array(this.#count)
    for (let i = 0; i < this.#count; i++) this.#order[next[this.#index[i]!]!++] = i
    this.#starts = starts
  }

  /** The references to a cluster of the window. */
  of(cluster: number): Reference[] {
    const index = this.#indexOf(cluster)
    if (index < this.#first) return []
    const found: Reference[] = []
    for (let i = this.#starts[index]!; i < this.#starts[index + 1]!; i++) {
      const at = this.#order[i]!
      found.push({ root: this.#root[at]!, number: this.#number[at]! })
    }
    return found
  }

  /** Index of a cluster; -1 if it is not one of the window. */
  #indexOf(cluster: number): number {
    const all = this.#clusters
    let [low, high] = [this.#first, all.length - 1]
    if (high < low || cluster < all[low]! || cluster > all[high]!) return -1
    while (low < high) {
      const middle = (low + high) >>> 1
      if (all[middle]! < cluster) low = middle + 1
      else high = middle
    }
    return all[low] === cluster ? low : -1
  }

  #grow(): void {
    const length = Math.min(this.#index.length * 2, this.#most)
    const grown = <T extends Uint32Array | Float64Array>(from: T, to: T): T => {
      to.set(from)
      return to
    }
    this.#index = grown(this.#index, new Uint32Array(length))
    this.#root = grown(this.#root, new Uint32Array(length))
    this.#number = grown(this.#number, new Float64Array(length))
  }

  /** Gives up the lower half of the window. */
  #narrow(): void {
    this.#first = Math.ceil((this.#first + this.#clusters.length + 1) / 2)
    let kept = 0
    for (let i = 0; i < this.#count; i++) {
      if (this.#index[i]! < this.#first) continue
      this.#index[kept] = this.#index[i]!
      this.#root[kept] = this.#root[i]!
      this.#number[kept++] = this.#number[i]!
    }
    this.#count = kept
  }
}
