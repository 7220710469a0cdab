/**
 * Tells which data requests were running when a cluster was freed. Reads and in-place writes take no lock:
 * they look a cluster up, then do their I/O. A freed cluster must therefore not be reused before every
 * request that may still be about to access it has ended.
 */

/** A period, and how many of the requests that began in it still run. */
export interface Epoch {
  readonly number: number
  inFlight: number
}

/** Counts requests by the epoch they began in: two increments a request, no sets. */
export class RequestEpochs {
  /** Oldest first; the last one is current. */
  #epochs: Epoch[] = [{ number: 0, inFlight: 0 }]
  #waiting: (() => void)[] = []

  /** Counts a request that begins. It passes the epoch to {@link leave} when it ends. */
  enter(): Epoch {
    const epoch = this.#epochs[this.#epochs.length - 1]!
    epoch.inFlight++
    return epoch
  }

  leave(epoch: Epoch): void {
    epoch.inFlight--
    if (this.#waiting.length > 0 && epoch.inFlight === 0) for (const wake of this.#waiting.splice(0)) wake()
  }

  /** Ends the current epoch. @returns its number, for {@link isOver} */
  advance(): number {
    const { number } = this.#epochs[this.#epochs.length - 1]!
    this.#epochs.push({ number: number + 1, inFlight: 0 })
    return number
  }

  /** Whether every request that began in epoch `number` or earlier has ended. */
  isOver(number: number): boolean {
    while (this.#epochs.length > 1 && this.#epochs[0]!.inFlight === 0) this.#epochs.shift()
    return this.#epochs[0]!.number > number
  }

  /** Resolves when {@link isOver}. The caller must not be inside a request itself. */
  async over(number: number): Promise<void> {
    while (!this.isOver(number)) await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }
}
