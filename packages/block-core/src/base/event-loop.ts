/**
 * Turns of the event loop. A request that is answered from memory completes without a turn, so thousands of
 * them in a row would block timers, sockets and clicks. So requests report their work, and all requests of a
 * thread share a budget: once it is spent they wait, and after the turn they resume one by one, until it is
 * spent again.
 */

import { Line } from './line.ts'

/** Milliseconds of work after which the event loop turns. */
export const SLICE_MS = 10

/** Work between two looks at the clock; the unit is a small request. */
const LOOK = 64
/** One in this many resumed requests is one that has not begun yet. */
const SHARE = 8
/** Bytes (copied, or searched for zeroes) that count as one more request. */
const BYTES_OF_UNIT = 16384

/** Time, and the event loop. */
export interface LoopClock {
  /** Milliseconds. */
  now(): number
  /** Calls back once the event loop has turned. */
  turn(resume: () => void): void
}

const DONE = Promise.resolve()

/** Resolves the promise that was made last. One executor for all of them: a closure for each would take memory for each. */
let kept: () => void = () => undefined
const keepResolve = (resolve: () => void): void => {
  kept = resolve
}

/** The work that may be done before the event loop turns, and the requests that wait for a turn. */
export class LoopBudget {
  /** Replaceable: tests use a clock of their own. */
  clock: LoopClock
  #left = LOOK
  /** Time of the first look at the clock since the event loop last turned, in milliseconds. */
  #since = 0
  /** Whether the next turn will be noticed: the loop often turns without being waited for. */
  #isWatching = false
  #isSpent = false
  /** Parts of requests that have begun: they go first, so that requests complete before new ones begin. */
  readonly #begun = new Line<() => void>()
  /** New requests by node. Nodes take turns, so that many requests to one do not delay the few to another. */
  readonly #new = new Map<object, Line<() => void>>()
  #resumed = 0

  constructor(clock: LoopClock) {
    this.clock = clock
  }

  /** Whether the next request has to wait for a turn. */
  get isSpent(): boolean {
    return this.#isSpent
  }

  /** Whether requests wait: then the one that asks was issued together with others. */
  get hasWaiting(): boolean {
    return this.#new.size > 0 || !this.#begun.isEmpty
  }

  /**
   * Reports a request, or a piece of work of about that size, that is about to begin.
   *
   * @param bytes the bytes that it copies or examines
   * @returns whether it must {@link wait} first
   */
  spend(bytes: number): boolean {
    this.#left -= bytes < BYTES_OF_UNIT ? 1 : Math.ceil(bytes / BYTES_OF_UNIT)
    return this.#left < 0 && this.#look()
  }

  #look(): boolean {
    if (!this.#isSpent) this.ended(this.clock.now())
    // New requests wait only until the loop has turned. If they also waited behind those that already wait, a
    // caller with 64 in flight would find the line never empty, and cached writes would take half as long again.
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
   * Waits for a turn if one is due, and for requests to the same node that have waited longer.
   *
   * @param node the node of a new request; undefined for a part of a request or operation that has begun
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
      // New requests get their share, however many have begun.
      const isOthers = ++this.#resumed % SHARE === 0
      const resume = (isOthers ? this.#shiftNew() : undefined) ?? this.#begun.shift() ?? this.#shiftNew()
      if (!resume) return
      resume()
      // The resumed request runs before this loop continues.
      await undefined
      if (!this.#isSpent) this.ended(this.clock.now())
    }
  }
}

/** Captured at load time, so that the fake clocks of tests do not affect it. */
const immediate = globalThis.setImmediate as typeof setImmediate | undefined
let channel: MessageChannel | undefined
const posted: (() => void)[] = []

/**
 * Calls back in a later turn. `setImmediate` of Node.js is far faster than a timer; browsers delay timers by
 * 4 ms or up to a second.
 */
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

/** Resolves in a later turn of the event loop, after work that is already due. */
export const nextTurn = (): Promise<void> => new Promise(callLater)

/** The budget of this thread's event loop, shared by all nodes. */
export const loopBudget = new LoopBudget({ now: () => performance.now(), turn: callLater })

/**
 * For operations that do much work between requests, or without any: reports work of about `units` small
 * requests.
 *
 * @returns undefined: continue. Else a promise that resolves when the event loop has turned
 */
export const pause = (units = 1): Promise<void> | undefined =>
  loopBudget.spend(units * BYTES_OF_UNIT) ? loopBudget.wait() : undefined
