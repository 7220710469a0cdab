/**
 * How many clusters in a row are free in each slice of refcounts, as far as a search went through it: so that the
 * next search for more than there are passes over it without a look, and without bringing it in. In an image that is
 * full of small holes every write would else go through all of its refcounts.
 */

import type { RefcountAccess } from '../format/refcount-width.ts'

/** Counts of clusters in a row. */
export interface FreeRuns {
  readonly longest: number
  /** Before the first one that is in use, and behind the last one. */
  readonly head: number
  readonly tail: number
}

/** What is known, by the index of the slice as counted from cluster 0. */
export class KnownFreeRuns {
  readonly #runs = new Map<number, FreeRuns>()

  get(slice: number): FreeRuns | undefined {
    return this.#runs.get(slice)
  }
  set(slice: number, runs: FreeRuns): void {
    this.#runs.set(slice, runs)
  }
  /** A refcount of that slice changes. */
  forget(slice: number): void {
    this.#runs.delete(slice)
  }
  /** Refcounts were changed in many places. */
  clear(): void {
    this.#runs.clear()
  }
}

/** Goes through the first `entries` refcounts of a slice. */
export function freeRunsOf(refcounts: RefcountAccess, bytes: Uint8Array, entries: number): FreeRuns {
  let [longest, head, run] = [0, -1, 0]
  for (let i = 0; i < entries; i++) {
    if (refcounts.get(bytes, i) === 0) {
      run++
      continue
    }
    if (head < 0) head = run
    longest = Math.max(longest, run)
    run = 0
  }
  return { longest: Math.max(longest, run), head: head < 0 ? run : head, tail: run }
}
