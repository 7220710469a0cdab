/**
 * Requests in flight, by range. An exclusive request waits for whatever runs on a part of its range, and
 * holds back others while it runs; requests that are not exclusive pass each other. Nobody waits for a request
 * that is itself still waiting (QEMU's rule, block/io.c): so nobody waits for somebody who waits for him, and
 * one that is held up does not hold up others.
 *
 * Who has to wait is found by looking at the neighbours alone, however many requests run elsewhere.
 */
import { overlaps } from './bits.ts'

/** A range that somebody has, until he gives it back. Offsets in bytes. */
export class HeldRange {
  readonly start: number
  readonly end: number
  readonly exclusive: boolean
  #isOver = false
  #waiting: (() => void)[] | undefined

  constructor(start: number, end: number, exclusive: boolean) {
    this.start = start
    this.end = end
    this.exclusive = exclusive
  }

  /** Resolves, and never rejects, once the range was given back. */
  over(): Promise<void> {
    if (this.#isOver) return Promise.resolve()
    return new Promise((resolve) => {
      this.#waiting ??= []
      this.#waiting.push(resolve)
    })
  }

  /** @internal Tells who waits. */
  finish(): void {
    this.#isOver = true
    if (this.#waiting) for (const resolve of this.#waiting) resolve()
  }
}

/** Bytes of a neighbourhood: ranges are found by the neighbourhoods that they touch. */
const NEIGHBOURHOOD = 2 ** 20
/** Ranges that touch more neighbourhoods are few, and are kept in a list of their own. */
const MOST = 16

const first = (start: number): number => Math.floor(start / NEIGHBOURHOOD)
const last = (start: number, end: number): number =>
  Math.floor((Math.max(end, start + 1) - 1) / NEIGHBOURHOOD)
const isWide = (start: number, end: number): boolean => last(start, end) - first(start) >= MOST

/** An ordered set of ranges in flight; offsets in bytes. */
export class RangeTracker {
  readonly #near = new Map<number, HeldRange[]>()
  readonly #wide = new Set<HeldRange>()
  #exclusive = 0
  #compared = 0

  /** How many pairs of ranges were compared so far: what waiting costs, for tests. */
  get compared(): number {
    return this.#compared
  }

  /**
   * Takes [start, start + bytes), if nobody runs there whom this request would have to wait for.
   *
   * @returns what to {@link release}; undefined if one has to wait
   */
  tryHold(start: number, bytes: number, exclusive: boolean): HeldRange | undefined {
    if (this.#conflict(start, start + bytes, exclusive)) return undefined
    const range = new HeldRange(start, start + bytes, exclusive)
    this.#insert(range)
    return range
  }

  /** Waits for one of those who keep a request on [start, start + bytes) from running, if there is any. */
  async whenReleased(start: number, bytes: number, exclusive: boolean): Promise<void> {
    await this.#conflict(start, start + bytes, exclusive)?.over()
  }

  /** Gives back a range. */
  release(range: HeldRange): void {
    this.#remove(range)
    range.finish()
  }

  /** Runs `body` when no conflicting request runs on [start, start + bytes). */
  async run<T>(start: number, bytes: number, exclusive: boolean, body: () => Promise<T>): Promise<T> {
    let range = this.tryHold(start, bytes, exclusive)
    while (!range) {
      await this.whenReleased(start, bytes, exclusive)
      range = this.tryHold(start, bytes, exclusive)
    }
    try {
      return await body()
    } finally {
      this.release(range)
    }
  }

  /** Whether an exclusive request overlaps [start, start + bytes): then a newcomer would have to wait. */
  isHeld(start: number, bytes: number): boolean {
    return this.#conflict(start, start + bytes, false) !== undefined
  }

  /** A request that runs, and that one on [start, end) must not run beside. */
  #conflict(start: number, end: number, exclusive: boolean): HeldRange | undefined {
    if (!exclusive && this.#exclusive === 0) return undefined
    if (this.#wide.size > 0) {
      const other = this.#conflictAmong(this.#wide, start, end, exclusive)
      if (other) return other
    }
    if (isWide(start, end)) {
      for (const ranges of this.#near.values()) {
        const other = this.#conflictAmong(ranges, start, end, exclusive)
        if (other) return other
      }
      return undefined
    }
    const stop = last(start, end)
    for (let at = first(start); at <= stop; at++) {
      const ranges = this.#near.get(at)
      const other = ranges && this.#conflictAmong(ranges, start, end, exclusive)
      if (other) return other
    }
    return undefined
  }

  #conflictAmong(
    ranges: Iterable<HeldRange>,
    start: number,
    end: number,
    exclusive: boolean,
  ): HeldRange | undefined {
    for (const other of ranges) {
      this.#compared++
      if ((exclusive || other.exclusive) && overlaps(other.start, other.end, start, end)) return other
    }
    return undefined
  }

  #insert(range: HeldRange): void {
    if (range.exclusive) this.#exclusive++
    const { start, end } = range
    if (isWide(start, end)) this.#wide.add(range)
    else {
      const stop = last(start, end)
      for (let at = first(start); at <= stop; at++) {
        const ranges = this.#near.get(at)
        if (ranges) ranges.push(range)
        else this.#near.set(at, [range])
      }
    }
  }

  #remove(range: HeldRange): void {
    if (range.exclusive) this.#exclusive--
    const { start, end } = range
    if (this.#wide.delete(range)) return
    const stop = last(start, end)
    for (let at = first(start); at <= stop; at++) {
      const ranges = this.#near.get(at)!
      const index = ranges.indexOf(range)
      const moved = ranges.pop()!
      if (index < ranges.length) ranges[index] = moved
      if (ranges.length === 0) this.#near.delete(at)
    }
  }
}
