/**
 * Requests in flight, by range. An exclusive request waits for whatever runs on a part of its range, and
 * holds back others while it runs; requests that are not exclusive pass each other. Nobody waits for a request
 * that is itself still waiting (QEMU's rule, block/io.c): so nobody waits for somebody who waits for him, and
 * one that is held up does not hold up others.
 */
import { overlaps } from './bits.ts'

interface Tracked {
  readonly start: number
  readonly end: number
  readonly exclusive: boolean
  /** Not begun yet: something else has the range. */
  waits: boolean
  /** Settles, and never rejects, once the request is over. */
  done: Promise<void>
}

/** An ordered set of ranges in flight; offsets in bytes. */
export class RangeTracker {
  readonly #inFlight = new Set<Tracked>()

  /** Runs `body` when no conflicting request runs on [start, start + bytes). */
  async run<T>(start: number, bytes: number, exclusive: boolean, body: () => Promise<T>): Promise<T> {
    let finish!: () => void
    const done = new Promise<void>((resolve) => {
      finish = resolve
    })
    const request: Tracked = { start, end: start + bytes, exclusive, waits: false, done }
    this.#inFlight.add(request)
    try {
      for (let other = this.#conflict(request); other; other = this.#conflict(request)) {
        request.waits = true
        await other.done
        request.waits = false
      }
      return await body()
    } finally {
      this.#inFlight.delete(request)
      finish()
    }
  }

  /** A request that runs and that this one must not run beside. */
  #conflict(request: Tracked): Tracked | undefined {
    for (const other of this.#inFlight) {
      if (other === request || other.waits || !(request.exclusive || other.exclusive)) continue
      if (overlaps(other.start, other.end, request.start, request.end)) return other
    }
    return undefined
  }

  /** Whether an exclusive request overlaps [start, start + bytes): then a newcomer would have to wait. */
  isHeld(start: number, bytes: number): boolean {
    for (const request of this.#inFlight) {
      if (request.exclusive && overlaps(request.start, request.end, start, start + bytes)) return true
    }
    return false
  }
}
