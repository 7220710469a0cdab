/**
 * The engine of blkdebug: rules that wait for events, the errors they arm, and requests that stopped at a
 * breakpoint. Semantics as in QEMU's block/blkdebug.c and docs/devel/blkdebug.txt.
 */
import { DEBUG_EVENTS, type DebugEvent } from '../debug-events.ts'
import type { Breakpoints } from '../driver.ts'
import { codeOfErrno, strerror } from '../errno.ts'
import { BlockError } from '../errors.ts'
import { nextTurn } from './event-loop.ts'

/** Kinds of requests that can be made to fail; QEMU's `BlkdebugIOType`. */
export const IO_TYPES = ['read', 'write', 'write-zeroes', 'discard', 'flush', 'block-status'] as const

/** One of {@link IO_TYPES}. */
export type IoType = (typeof IO_TYPES)[number]

/** A rule acts when its event comes while the engine is in its state; state 0 is any state. */
interface Rule {
  readonly event: DebugEvent
  readonly state: number
}

/** Arms an error. */
export interface InjectErrorRule extends Rule {
  /** Requests that fail; without it all but `block-status`. */
  readonly iotype: IoType | undefined
  /** Linux errno; 0 lets the request through, and shields it from later rules. */
  readonly errno: number
  /** Fails only requests that touch this byte; undefined: all, also flushes. */
  readonly offset: number | undefined
  /** The rule is gone after it failed one request. */
  readonly once: boolean
  /** The error comes at once, not in a later turn of the event loop. */
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
  /** The errors that are armed, in the order in which requests are compared with them. */
  #active: readonly InjectErrorRule[] = []
  #breakpoints: Breakpoint[] = []
  /** The latest first, which is also the first to be resumed. */
  #suspended: Suspended[] = []
  #waiters: Waiter[] = []
  #ended = false

  /** @param print takes the lines about suspended and resumed requests, without their newline */
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
   * An event happened. All its rules that fit the state act; those that inject errors replace whatever was
   * armed. The new state holds from the next event on.
   *
   * @returns undefined, or if breakpoints were set for the event a promise that resolves when all are resumed
   */
  event(event: DebugEvent): Promise<void> | undefined {
    const armed = this.#injectError.filter((rule) => applies(rule, event, this.#state))
    if (armed.length > 0) this.#active = armed
    // QEMU walks its rules from the last to the first, and the last one it meets decides.
    this.#state = this.#setState.find((rule) => applies(rule, event, this.#state))?.newState ?? this.#state
    if (this.#breakpoints.length === 0) return undefined
    const reached = this.#breakpoints.filter((breakpoint) => breakpoint.event === event)
    if (reached.length === 0) return undefined
    // A breakpoint stops one request and is used up by it.
    this.#breakpoints = this.#breakpoints.filter((breakpoint) => breakpoint.event !== event)
    const stops = reached.reverse().map(({ tag }) => this.#suspend(tag))
    return Promise.all(stops).then(() => undefined)
  }

  /**
   * Fails if an armed error fits the request. Lengths and offsets in bytes; a flush has neither.
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

  /** Stops the first request that causes `event`. @throws BlockError ENOENT for an unknown event */
  set(event: string, tag: string): void {
    if (!isEvent(event)) throw new BlockError('ENOENT', `unknown blkdebug event '${event}'`)
    this.#breakpoints.push({ event, tag })
  }

  /**
   * Removes the breakpoints called `tag` and resumes all they stopped.
   *
   * @throws BlockError ENOENT if there is none; one that stopped a request is none any more, and QEMU 7.2 fails
   * even after it resumed that request
   */
  remove(tag: string): void {
    const before = this.#breakpoints.length
    this.#breakpoints = this.#breakpoints.filter((breakpoint) => breakpoint.tag !== tag)
    while (this.isSuspended(tag)) this.resume(tag)
    if (this.#breakpoints.length === before)
      throw new BlockError('ENOENT', `no breakpoint is called '${tag}'`)
  }

  /** Resumes the request that was stopped last under `tag`. @throws BlockError ENOENT if none is stopped */
  resume(tag: string): void {
    const index = this.#suspended.findIndex((request) => request.tag === tag)
    if (index < 0) throw new BlockError('ENOENT', `no request is suspended under '${tag}'`)
    const [request] = this.#suspended.splice(index, 1)
    this.#print(`blkdebug: Resuming request '${tag}'`)
    request!.resume()
  }

  /** Whether a request is stopped under `tag`. */
  isSuspended(tag: string): boolean {
    return this.#suspended.some((request) => request.tag === tag)
  }

  /** Resolves once a request is stopped under `tag`. @throws BlockError ECANCELED if the node ends before */
  wait(tag: string): Promise<void> {
    if (this.isSuspended(tag)) return Promise.resolve()
    if (this.#ended) return Promise.reject(this.#endError())
    return new Promise((wake, reject) => this.#waiters.push({ tag, wake, reject }))
  }

  /** The node is gone: whatever is stopped, or waits for a stop, is rejected. */
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
