/**
 * Requests in flight, by range. An exclusive request waits for whatever overlaps it and holds back what
 * comes later; requests that are not exclusive pass each other. Waiting is in order of arrival, so nobody
 * waits for somebody who waits for him.
 */
import { overlaps } from './bits.ts'

interface Tracked {
  readonly start: number
  readonly end: number
  readonly exclusive: boolean
  /** Settles, and never rejects, once the request is over. */
  done: Promise<void>
}

/** An ordered set of ranges in flight; offsets in bytes. */
export class RangeTracker {
  readonly #inFlight = new Set<Tracked>()

  /** Runs `body` when no earlier request that conflicts with [start, start + bytes) is left. */
  async run<T>(start: number, bytes: number, exclusive: boolean, body: () => Promise<T>): Promise<T> {
    const end = start + bytes
    let earlier: Promise<void>[] | undefined
    for (const request of this.#inFlight) {
      if ((exclusive || request.exclusive) && overlaps(request.start, request.end, start, end)) {
        earlier ??= []
        earlier.push(request.done)
      }
    }
    let finish!: () => void
    const request: Tracked = { start, end, exclusive, done: new Promise((resolve) => (finish = resolve)) }
    this.#inFlight.add(request)
    try {
      if (earlier) await Promise.all(earlier)
      return await body()
    } finally {
      this.#inFlight.delete(request)
      finish()
    }
  }

  /** Whether an exclusive request overlaps [start, start + bytes): then a newcomer would have to wait. */
  isHeld(start: number, bytes: number): boolean {
    for (const request of this.#inFlight) {
      if (request.exclusive && overlaps(request.start, request.end, start, start + bytes)) return true
    }
    return false
  }
}
