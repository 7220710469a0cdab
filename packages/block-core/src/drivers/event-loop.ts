/**
 * Turns of the event loop. A request that is answered from memory ends without one, so thousands of them would keep
 * timers, sockets and clicks waiting for as long as all of them take. So requests note what they do, and all of a thread
 * share a budget: once that is spent they wait, and after the turn they go on one after the other, until it is spent
 * again.
 */

import { Line } from '../line.ts'

/** Milliseconds of work after which the event loop turns. */
export const SLICE_MS = 10

/** So much work is done before the clock is looked at: a unit is a small request. */
const LOOK = 64
/** Of so many that go on, one has not begun yet. */
const SHARE = 8
/** Bytes that count as one more request: they are copied, or searched for zeroes. */
const BYTES_OF_UNIT = 16384

/** Time, and the event loop. */
export interface LoopClock {
  /** Milliseconds. */
  now(): number
  /** Calls back once the event loop has turned. */
  turn(resume: () => void): void
}

const DONE = Promise.resolve()

/** What resolves the promise that was made last. One function for all of them: a closure for each is memory for each. */
let kept: () => void = () => undefined
const keepResolve = (resolve: () => void): void => {
  kept = resolve
}

/** How much may be done before the event loop turns, and what waits for that. */
export class LoopBudget {
  /** Another one may take its place: tests count without it. */
  clock: LoopClock
  #left = LOOK
  /** When it was first looked at the clock since the event loop last turned, in milliseconds. */
  #since = 0
  /** A turn will be told of: the loop may turn by itself, and often does. */
  #isWatching = false
  #isSpent = false
  /** Parts of requests that have begun: they go first, so that what is begun ends before more is. */
  readonly #begun = new Line<() => void>()
  /** By who was asked: they take turns, so that a storm of one does not hold up the few requests of another. */
  readonly #new = new Map<object, Line<() => void>>()
  #resumed = 0

  constructor(clock: LoopClock) {
    this.clock = clock
  }

  /** The next request has to wait for a turn. */
  get isSpent(): boolean {
    return this.#isSpent
  }

  /** Requests wait, or begin to go on: the one that asks did not come alone. */
  get hasWaiting(): boolean {
    return this.#new.size > 0 || !this.#begun.isEmpty
  }

  /**
   * A request, or a piece of work of about its size, is about to be done.
   *
   * @param bytes that it copies or looks at
   * @returns whether it is to {@link wait} first
   */
  spend(bytes: number): boolean {
    this.#left -= bytes < BYTES_OF_UNIT ? 1 : Math.ceil(bytes / BYTES_OF_UNIT)
    return this.#left < 0 && this.#look()
  }

  #look(): boolean {
    if (!this.#isSpent) this.ended(this.clock.now())
    // Only until the loop has turned. If requests waited for as long as others do, a caller with 64 in flight would find
    // the line never empty, and each of them would wait in it, for half as much again as a cached write takes.
    this.#left = this.#isSpent ? 0 : LOOK
    return this.#isSpent
  }

  /** Work has ended at `time`, in milliseconds. */
  ended(time: number): void {
    if (!this.#isWatching) {
      this.#since = time
      this.#watch()
    } else if (time - this.#since > SLICE_MS) {
      this.#isSpent = true
      this.#left = 0
    }
  }

  /**
   * Waits for a turn if one is due, and for those of the same node that have waited longer.
   *
   * @param node that is asked; undefined: it is part of a request, or of an operation, that has begun
   */
  wait(node?: object): Promise<void> {
    let line = node ? this.#new.get(node) : this.#begun
    if (!this.#isSpent && (!line || line.isEmpty)) return DONE
    line ??= new Line()
    if (node) this.#new.set(node, line)
    this.#watch()
    const waiting = new Promise<void>(keepResolve)
    line.add(kept)
    return waiting
  }

  #shiftNew(): (() => void) | undefined {
    for (const [node, line] of this.#new) {
      const resume = line.shift()
      this.#new.delete(node)
      if (!line.isEmpty) this.#new.set(node, line)
      return resume
    }
    return undefined
  }

  #watch(): void {
    if (this.#isWatching) return
    this.#isWatching = true
    this.clock.turn(() => void this.#turned())
  }

  async #turned(): Promise<void> {
    this.#isWatching = this.#isSpent = false
    this.#left = LOOK
    while (!this.#isSpent) {
      // However many have begun, others get their share.
      const isOthers = ++this.#resumed % SHARE === 0
      const resume = (isOthers ? this.#shiftNew() : undefined) ?? this.#begun.shift() ?? this.#shiftNew()
      if (!resume) return
      resume()
      // What was woken does its work before this goes on.
      await undefined
      if (!this.#isSpent) this.ended(this.clock.now())
    }
  }
}

/** Taken now: the clocks of a test are for its own timers. */
const immediate = globalThis.setImmediate as typeof setImmediate | undefined
let channel: MessageChannel | undefined
const posted: (() => void)[] = []

/** Calls back in a later turn. Node's own way is far quicker than a timer; browsers slow timers down to 4 ms or a second. */
function callLater(resume: () => void): void {
  if (immediate) {
    immediate(resume)
    return
  }
  if (!channel) {
    channel = new MessageChannel()
    channel.port1.onmessage = () => posted.shift()?.()
  }
  posted.push(resume)
  channel.port2.postMessage(0)
}

/** Resolves in a later turn of the event loop, after what is already due. */
export const nextTurn = (): Promise<void> => new Promise(callLater)

/** What all nodes of this thread share: its event loop is one. */
export const loopBudget = new LoopBudget({ now: () => performance.now(), turn: callLater })

/**
 * For operations that do much between requests, or without any: notes work of about `units` small requests.
 *
 * @returns undefined: go on. Else a promise that resolves when the event loop has turned
 */
export const pause = (units = 1): Promise<void> | undefined =>
  loopBudget.spend(units * BYTES_OF_UNIT) ? loopBudget.wait() : undefined
