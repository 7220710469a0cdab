/** The refcounts on disk after a comparison: as counted, except for differences that were not repaired. */
import type { References } from './references.ts'

/** The most differences that are remembered; if there are more, the refcounts have to be read again. */
const MOST = 2 ** 16

/** See the head of this file. */
export class StoredRefcounts {
  readonly #references: References
  readonly #differing = new Map<number, number | undefined>()
  #areKnown = true

  constructor(references: References) {
    this.#references = references
  }

  /** Notes a refcount that differs from the count; undefined: it could not be read. */
  differs(cluster: number, refcount: number | undefined): void {
    if (this.#differing.size < MOST) this.#differing.set(cluster, refcount)
    else this.#areKnown = false
  }

  /** Called when another comparison begins. */
  forget(): void {
    this.#differing.clear()
    this.#areKnown = true
  }

  /** Whether {@link get} knows every cluster that was compared. */
  get areKnown(): boolean {
    return this.#areKnown
  }
  /** Whether all refcounts are as counted. */
  get areAsCounted(): boolean {
    return this.#differing.size === 0
  }

  /** The refcount of a cluster, by its index; undefined if it could not be read. */
  get(cluster: number): number | undefined {
    return this.#differing.has(cluster) ? this.#differing.get(cluster) : this.#references.get(cluster)
  }
}
