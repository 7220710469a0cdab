/**
 * The engine of blkdebug: rules that are triggered by events, the errors they arm, and requests suspended at
 * breakpoints. Semantics as in QEMU's block/blkdebug.c and docs/devel/blkdebug.txt.
 */

import { codeOfErrno, strerror } from '../base/errno.ts'
import { BlockError } from '../base/errors.ts'
import { nextTurn } from '../base/event-loop.ts'
import { DEBUG_EVENTS, type DebugEvent } from '../contract/debug-events.ts'
import type { Breakpoints } from '../contract/node-ops.ts'

/** Kinds of requests that can be made to fail; QEMU's `BlkdebugIOType`. */
export const IO_TYPES = ['read', 'write', 'write-zeroes', 'discard', 'flush', 'block-status'] as const

/** One of {@link IO_TYPES}. */
export type IoType = (typeof IO_TYPES)[number]

/** A rule acts when its event happens while the engine is in its state; state 0 is any state. */
interface Rule {
  readonly event: DebugEvent
  readonly state: number
}

/** Arms an error. */
export interface InjectErrorRule extends Rule {
  /** The kind of requests that fail; undefined: all but `block-status`. */
  readonly iotype: IoType | undefined
  /** Linux errno; 0 lets the request through, and shields it from later rules. */
  readonly errno: number
  /** Only requests that touch this byte fail; undefined: all, including flushes. */
  readonly offset: number | undefined
  /** The rule is removed after it has failed one request. */
  readonly once: boolean
  /** The request fails at once, not in a later turn of the event loop. */
  readonly immediately: boolean
}

/** Changes the state of the engine. */
export interface SetStateRule extends Rule {
  readonly newState: number
}

/** The rules a node starts with. */
export interface RuleSet {
  readonly injectError: readonly InjectErrorRule[]
  readonly setState: readonly SetStateRule[]
}

interface Suspended {
  readonly tag: string
  resume(): void
  reject(error: BlockError): void
}

interface Breakpoint {
  readonly event: DebugEvent
  readonly tag: string
}

interface Waiter extends Pick<Suspended, 'tag' | 'reject'> {
  wake(): void
}

const isEvent = (name: string): name is DebugEvent => (DEBUG_EVENTS as readonly string[]).includes(name)

const applies = (rule: Rule, event: DebugEvent, state: number): boolean =>
  rule.event === event && (rule.state === 0 || rule.state === state)

function hits(rule: InjectErrorRule, type: IoType, offset: number, bytes: number): boolean {
  if (rule.iotype === undefined ? type === 'block-status' : type !== rule.iotype) return false
  return rule.offset === undefined || (rule.offset >= offset && rule.offset < offset + bytes)
}

/** State, armed errors and suspended requests of one node. */
export class BlkdebugEngine implements Breakpoints {
  readonly #setState: readonly SetStateRule[]
  readonly #print: (line: string) => void
  #injectError: readonly InjectErrorRule[]
  #state = 1
  /** The armed errors, in the order in which requests are matched against them. */
  #active: readonly InjectErrorRule[] = []
  #breakpoints: Breakpoint[] = []
  /** The latest request first; it is also resumed first. */
  #suspended: Suspended[] = []
  #waiters: Waiter[] = []
  #ended = false

  /** @param print receives the lines about suspended and resumed requests, without newline */
  constructor(rules: RuleSet, print: (line: string) => void) {
    this.#injectError = rules.injectError
    this.#setState = rules.setState
    this.#print = print
  }

  /** The state that rules refer to. It starts at 1. */
  get state(): number {
    return this.#state
  }

  /**
   * Handles an event. All its rules that match the state act; if any of them inject errors, these replace the
   * armed ones. The new state applies from the next event on.
   *
   * @returns undefined; if breakpoints are set for the event, a promise that resolves when all are resumed
   */
  event(event: DebugEvent): Promise<void> | undefined {
    const armed = this.#injectError.filter((rule) => applies(rule, event, this.#state))
    if (armed.length > 0) this.#active = armed
    // QEMU walks its rules from last to first and the last match wins: so the first rule does.
    this.#state = this.#setState.find((rule) => applies(rule, event, this.#state))?.newState ?? this.#state
    if (this.#breakpoints.length === 0) return undefined
    const reached = this.#breakpoints.filter((breakpoint) => breakpoint.event === event)
    if (reached.length === 0) return undefined
    // A breakpoint suspends one request, and is then removed.
    this.#breakpoints = this.#breakpoints.filter((breakpoint) => breakpoint.event !== event)
    const stops = reached.reverse().map(({ tag }) => this.#suspend(tag))
    return Promise.all(stops).then(() => undefined)
  }

  /**
   * Fails if an armed error matches the request. Lengths and offsets in bytes; a flush has neither.
   *
   * @throws BlockError with the code of the rule's errno (EIO for numbers that have no code here)
   */
  async check(type: IoType, offset = 0, bytes = 0): Promise<void> {
    if (this.#active.length === 0) return
    const rule = this.#active.find((candidate) => hits(candidate, type, offset, bytes))
    if (!rule || rule.errno === 0) return
    if (rule.once) {
      this.#active = this.#active.filter((other) => other !== rule)
      this.#injectError = this.#injectError.filter((other) => other !== rule)
    }
    if (!rule.immediately) await nextTurn()
    const code = codeOfErrno(rule.errno)
    throw new BlockError(code, strerror(code), type === 'flush' ? {} : { offset })
  }

  #suspend(tag: string): Promise<void> {
    const stopped = new Promise<void>((resume, reject) => this.#suspended.unshift({ tag, resume, reject }))
    this.#print(`blkdebug: Suspended request '${tag}'`)
    const woken = this.#waiters.filter((waiter) => waiter.tag === tag)
    this.#waiters = this.#waiters.filter((waiter) => waiter.tag !== tag)
    for (const waiter of woken) waiter.wake()
    return stopped
  }

  /**
   * Sets a breakpoint for the next request that causes `event`.
   *
   * @throws BlockError ENOENT for an unknown event
   */
  set(event: string, tag: string): void {
    if (!isEvent(event)) throw new BlockError('ENOENT', `unknown blkdebug event '${event}'`)
    this.#breakpoints.push({ event, tag })
  }

  /**
   * Removes the breakpoints called `tag`, and resumes all requests suspended under that name.
   *
   * @throws BlockError ENOENT if no breakpoint is left to remove. One that suspended a request no longer
   *   exists: as in QEMU 7.2, this fails even after resuming that request
   */
  remove(tag: string): void {
    const before = this.#breakpoints.length
    this.#breakpoints = this.#breakpoints.filter((breakpoint) => breakpoint.tag !== tag)
    while (this.isSuspended(tag)) this.resume(tag)
    if (this.#breakpoints.length === before)
      throw new BlockError('ENOENT', `no breakpoint is called '${tag}'`)
  }

  /**
   * Resumes the request that was suspended last under `tag`.
   *
   * @throws BlockError ENOENT if none is suspended
   */
  resume(tag: string): void {
    const index = this.#suspended.findIndex((request) => request.tag === tag)
    if (index < 0) throw new BlockError('ENOENT', `no request is suspended under '${tag}'`)
    const [request] = this.#suspended.splice(index, 1)
    this.#print(`blkdebug: Resuming request '${tag}'`)
    request!.resume()
  }

  /** Whether a request is suspended under `tag`. */
  isSuspended(tag: string): boolean {
    return this.#suspended.some((request) => request.tag === tag)
  }

  /**
   * Resolves once a request is suspended under `tag`.
   *
   * @throws BlockError ECANCELED if the node ends before that
   */
  wait(tag: string): Promise<void> {
    if (this.isSuspended(tag)) return Promise.resolve()
    if (this.#ended) return Promise.reject(this.#endError())
    return new Promise((wake, reject) => this.#waiters.push({ tag, wake, reject }))
  }

  /** Ends the engine with its node: rejects suspended requests and pending waits. */
  end(): void {
    this.#ended = true
    const stranded = [...this.#suspended, ...this.#waiters]
    this.#suspended = []
    this.#waiters = []
    this.#breakpoints = []
    for (const request of stranded) request.reject(this.#endError())
  }

  #endError(): BlockError {
    return new BlockError('ECANCELED', 'the blkdebug node is gone')
  }
}
