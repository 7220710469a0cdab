/**
 * The rule of requests without a lock. A read or a write in place looks a guest range up, does its I/O, and
 * holds nothing. A cluster that is freed meanwhile is no danger, since it waits for the request (epochs.ts).
 * But an entry may stop showing its host cluster and keep it: zeroing does that, and with a data file every
 * change. Another write may then fill that cluster, and link it only later. So such changes are counted: the
 * request compares the count from before its lookup with the one after its I/O, and looks again if they
 * differ. In production they hardly ever do.
 */

/** Counts changes to L2 entries that stop showing a host cluster without freeing it. */
export class Remaps {
  #count = 0

  /** To be read before a lookup. */
  get count(): number {
    return this.#count
  }
  /** Called with every such change. */
  note(): void {
    this.#count++
  }
  /** Whether there was one since the count was read. */
  since(count: number): boolean {
    return this.#count !== count
  }
}
