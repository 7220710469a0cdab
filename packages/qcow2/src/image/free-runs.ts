/**
 * The longest runs of free clusters in each slice of refcounts that a search has gone through, so that a
 * search for a longer run skips the slice without loading it. Otherwise, in an image full of small holes,
 * every write would read all of its refcounts.
 */

import type { RefcountAccess } from '../format/refcount-width.ts'

/** Counts of clusters in a row. */
export interface FreeRuns {
  readonly longest: number
  /** Free clusters before the first used one, and behind the last one. */
  readonly head: number
  readonly tail: number
}

/** The known runs, by index of the slice counted from cluster 0. */
export class KnownFreeRuns {
  readonly #runs = new Map<number, FreeRuns>()

  get(slice: number): FreeRuns | undefined {
    return this.#runs.get(slice)
  }
  set(slice: number, runs: FreeRuns): void {
    this.#runs.set(slice, runs)
  }
  /** Called when a refcount of that slice changes. */
  forget(slice: number): void {
    this.#runs.delete(slice)
  }
  /** Called when refcounts of many slices changed. */
  clear(): void {
    this.#runs.clear()
  }
}

/** Finds the runs in the first `entries` refcounts of a slice. */
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
