/**
 * Requests in flight, by range. An exclusive request waits for all requests that overlap it, and blocks
 * others while it runs; requests that are not exclusive do not block each other. A request never waits for
 * one that is itself waiting (QEMU's rule, block/io.c): so there is no deadlock, and a blocked request does
 * not block others.
 *
 * Conflicts are found by comparing nearby requests only, however many run elsewhere.
 */
import { overlaps } from './bits.ts'
import { Line } from './line.ts'

/** A range that a request holds until it is released. Offsets in bytes. */
export class HeldRange {
  readonly start: number
  readonly end: number
  readonly exclusive: boolean
  /** Waiting for this range: callers that will try again, and requests in line for their own ranges. */
  #watching: (() => void)[] | undefined
  #line: WaitingLine | undefined
  #isOver = false

  constructor(start: number, end: number, exclusive: boolean) {
    this.start = start
    this.end = end
    this.exclusive = exclusive
  }

  /** Resolves, and never rejects, once the range is released. */
  over(): Promise<void> {
    if (this.#isOver) return Promise.resolve()
    return new Promise((resolve) => {
      this.#watching ??= []
      this.#watching.push(resolve)
    })
  }

  /** @internal Adds a request to the line; it is served when this range is released. */
  queue(waiter: Waiter): void {
    this.#line ??= new WaitingLine()
    this.#line.add(waiter)
  }

  /** @internal Takes over the line of another range; all requests in it want exactly this range. */
  inherit(line: WaitingLine): void {
    this.#line = line
  }

  /** @internal Wakes the callers that will try again. @returns the requests in line */
  finish(): WaitingLine | undefined {
    this.#isOver = true
    if (this.#watching) for (const resolve of this.#watching) resolve()
    return this.#line
  }
}

/** A request that waits for its range. */
interface Waiter {
  readonly start: number
  readonly end: number
  readonly exclusive: boolean
  /** Called when the request has got its range. */
  take(range: HeldRange): void
}

/** Requests that wait for a range that overlaps theirs, in order. */
class WaitingLine extends Line<Waiter> {
  #isUniform = true

  /** Whether all of them are exclusive and want the same range: then they can only run one by one. */
  get isUniform(): boolean {
    return this.#isUniform
  }
  override add(waiter: Waiter): void {
    const { first = waiter } = this
    if (!waiter.exclusive || first.start !== waiter.start || first.end !== waiter.end) this.#isUniform = false
    super.add(waiter)
  }
}

/** Bytes of a neighborhood: ranges are found by the neighborhoods that they touch. */
const BUCKET_BYTES = 2 ** 20
/** Ranges that touch more neighborhoods than this are few, and are kept in a separate set. */
const MAX_BUCKETS = 16

const firstBucket = (start: number): number => Math.floor(start / BUCKET_BYTES)
const lastBucket = (start: number, end: number): number =>
  Math.floor((Math.max(end, start + 1) - 1) / BUCKET_BYTES)
const isWide = (start: number, end: number): boolean =>
  lastBucket(start, end) - firstBucket(start) >= MAX_BUCKETS

/** An ordered set of ranges in flight; offsets in bytes. */
export class RangeTracker {
  readonly #buckets = new Map<number, HeldRange[]>()
  readonly #wide = new Set<HeldRange>()
  #exclusive = 0
  #compared = 0

  /** Number of range comparisons so far: the cost of waiting, for tests. */
  get compared(): number {
    return this.#compared
  }

  /**
   * Takes [start, start + bytes), if no conflicting request runs there.
   *
   * @returns the range, to be given to {@link release}; undefined if the caller has to wait
   */
  tryHold(start: number, bytes: number, exclusive: boolean): HeldRange | undefined {
    if (this.#conflict(start, start + bytes, exclusive)) return undefined
    const range = new HeldRange(start, start + bytes, exclusive)
    this.#insert(range)
    return range
  }

  /** Waits for one of the requests that conflict with [start, start + bytes), if there is any. */
  async whenReleased(start: number, bytes: number, exclusive: boolean): Promise<void> {
    await this.#conflict(start, start + bytes, exclusive)?.over()
  }

  /** Releases a range. */
  release(range: HeldRange): void {
    this.#remove(range)
    const line = range.finish()
    if (line) this.#serve(line)
  }

  /** Gives waiting requests their ranges; those that still conflict join another line. */
  #serve(line: WaitingLine): void {
    for (let waiter = line.shift(); waiter; waiter = line.shift()) {
      const { start, end, exclusive } = waiter
      const other = this.#conflict(start, end, exclusive)
      if (other) {
        other.queue(waiter)
        continue
      }
      const range = new HeldRange(start, end, exclusive)
      this.#insert(range)
      waiter.take(range)
      if (!line.isUniform || line.isEmpty) continue
      // The rest of a uniform line must wait for this range, and moves as a whole.
      range.inherit(line)
      return
    }
  }

  #hold(start: number, end: number, exclusive: boolean): HeldRange | Promise<HeldRange> {
    const other = this.#conflict(start, end, exclusive)
    if (other) return new Promise((take) => other.queue({ start, end, exclusive, take }))
    const range = new HeldRange(start, end, exclusive)
    this.#insert(range)
    return range
  }

  /** Runs `body` once no conflicting request runs on [start, start + bytes). */
  async run<T>(start: number, bytes: number, exclusive: boolean, body: () => Promise<T>): Promise<T> {
    const held = this.#hold(start, start + bytes, exclusive)
    const range = held instanceof Promise ? await held : held
    try {
      return await body()
    } finally {
      this.release(range)
    }
  }

  /** Whether an exclusive request overlaps [start, start + bytes): then a new request would have to wait. */
  isHeld(start: number, bytes: number): boolean {
    return this.#conflict(start, start + bytes, false) !== undefined
  }

  /** Finds a running request that conflicts with one on [start, end). */
  #conflict(start: number, end: number, exclusive: boolean): HeldRange | undefined {
    if (!exclusive && this.#exclusive === 0) return undefined
    if (this.#wide.size > 0) {
      const other = this.#conflictAmong(this.#wide, start, end, exclusive)
      if (other) return other
    }
    if (isWide(start, end)) {
      for (const ranges of this.#buckets.values()) {
        const other = this.#conflictAmong(ranges, start, end, exclusive)
        if (other) return other
      }
      return undefined
    }
    const stop = lastBucket(start, end)
    for (let at = firstBucket(start); at <= stop; at++) {
      const ranges = this.#buckets.get(at)
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
      const stop = lastBucket(start, end)
      for (let at = firstBucket(start); at <= stop; at++) {
        const ranges = this.#buckets.get(at)
        if (ranges) ranges.push(range)
        else this.#buckets.set(at, [range])
      }
    }
  }

  #remove(range: HeldRange): void {
    if (range.exclusive) this.#exclusive--
    const { start, end } = range
    if (this.#wide.delete(range)) return
    const stop = lastBucket(start, end)
    for (let at = firstBucket(start); at <= stop; at++) {
      const ranges = this.#buckets.get(at)!
      const index = ranges.indexOf(range)
      const moved = ranges.pop()!
      if (index < ranges.length) ranges[index] = moved
      if (ranges.length === 0) this.#buckets.delete(at)
    }
  }
}
