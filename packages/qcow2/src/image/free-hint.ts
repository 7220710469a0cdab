/** Where the search for free clusters begins. Only refcounts/ moves it. */

/**
 * Index of a cluster. Free clusters may lie below it: gaps that were too short for a request, which
 * {@link free-runs.ts} remembers.
 */
export class FreeHint {
  #at = 0

  get at(): number {
    return this.#at
  }

  /** Called when a cluster became free, or was found free and is not used: searches begin there or before. */
  noteFree(cluster: number): void {
    if (cluster < this.#at) this.#at = cluster
  }
  /** Called when the clusters before this one were taken or passed over. */
  moveTo(cluster: number): void {
    this.#at = cluster
  }
}
