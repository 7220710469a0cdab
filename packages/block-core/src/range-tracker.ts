/**
 * Requests in flight, by range. An exclusive request waits for whatever runs on a part of its range, and
 * holds back others while it runs; requests that are not exclusive pass each other. Nobody waits for a request
 * that is itself still waiting (QEMU's rule, block/io.c): so nobody waits for somebody who waits for him, and
 * one that is held up does not hold up others.
 *
 * Who has to wait is found by looking at the neighbours alone, however many requests run elsewhere.
 */
import { overlaps } from './bits.ts'
import { Line } from './line.ts'

/** A range that somebody has, until he gives it back. Offsets in bytes. */
export class HeldRange {
  readonly start: number
  readonly end: number
  readonly exclusive: boolean
  /** Who waits for it: those who look again, and requests that shall have their ranges. */
  #watching: (() => void)[] | undefined
  #line: WaitingLine | undefined
  #isOver = false

  constructor(start: number, end: number, exclusive: boolean) {
    this.start = start
    this.end = end
    this.exclusive = exclusive
  }

  /** Resolves, and never rejects, once the range was given back. */
  over(): Promise<void> {
    if (this.#isOver) return Promise.resolve()
    return new Promise((resolve) => {
      this.#watching ??= []
      this.#watching.push(resolve)
    })
  }

  /** @internal A request will be asked for when this one is over. */
  queue(waiter: Waiter): void {
    this.#line ??= new WaitingLine()
    this.#line.add(waiter)
  }

  /** @internal All who waited for another one wait for this one: each of them has the same range. */
  inherit(line: WaitingLine): void {
    this.#line = line
  }

  /** @internal Tells those who look again. @returns the others */
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
  /** It has it. */
  take(range: HeldRange): void
}

/** Requests that wait for one that holds a part of their ranges, in order. */
class WaitingLine extends Line<Waiter> {
  #isUniform = true

  /** All of them are exclusive, and want the same range: each of them keeps out all others. */
  get isUniform(): boolean {
    return this.#isUniform
  }
  override add(waiter: Waiter): void {
    const { first = waiter } = this
    if (!waiter.exclusive || first.start !== waiter.start || first.end !== waiter.end) this.#isUniform = false
    super.add(waiter)
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
    const line = range.finish()
    if (line) this.#serve(line)
  }

  /** Gives ranges to those who waited, as far as nobody is in their way now. */
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
      // However many there are, they are not looked at one by one each time.
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

  /** Runs `body` when no conflicting request runs on [start, start + bytes). */
  async run<T>(start: number, bytes: number, exclusive: boolean, body: () => Promise<T>): Promise<T> {
    const held = this.#hold(start, start + bytes, exclusive)
    const range = held instanceof Promise ? await held : held
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
