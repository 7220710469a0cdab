/**
 * What the refcounts on disk are after a comparison: what was counted, except where it found a difference that it
 * did not repair.
 */
import type { References } from './references.ts'

/** So many differences are remembered; with more of them the refcounts have to be read again. */
const MOST = 2 ** 16

/** See the head of this file. */
export class StoredRefcounts {
  readonly #references: References
  readonly #differing = new Map<number, number | undefined>()
  #areKnown = true

  constructor(references: References) {
    this.#references = references
  }

  /** A cluster's refcount is another than was counted; undefined: it could not be read. */
  differs(cluster: number, refcount: number | undefined): void {
    if (this.#differing.size < MOST) this.#differing.set(cluster, refcount)
    else this.#areKnown = false
  }

  /** Another comparison begins. */
  forget(): void {
    this.#differing.clear()
    this.#areKnown = true
  }

  /** Whether {@link get} knows every cluster that was compared. */
  get areKnown(): boolean {
    return this.#areKnown
  }
  /** Whether all are what was counted. */
  get areAsCounted(): boolean {
    return this.#differing.size === 0
  }

  /** The refcount of a cluster by its index; undefined where it could not be read. */
  get(cluster: number): number | undefined {
    return this.#differing.has(cluster) ? this.#differing.get(cluster) : this.#references.get(cluster)
  }
}
