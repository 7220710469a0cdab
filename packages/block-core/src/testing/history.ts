/**
 * Judges the results of concurrent requests to a disk. Every sector is a separate register: there must be an
 * order of the requests in which a request that ended before another began comes first, and each read finds
 * the current value (linearizability, per sector). Then no read is stale or older than an earlier one, no
 * write is lost, and no sector is a mixture.
 *
 * The search builds such orders one request at a time (Wing and Gong), and remembers the positions it has
 * visited.
 */

/** The value of a sector beyond the disk's end. */
export const ABSENT = -1

/**
 * The effect of one request on one register. Values are whole numbers; 0 stands for zeroes. An `optional`
 * effect may or may not have happened: that of a discard, for example, or of a failed request.
 *
 * - `read`: the request found this value; undefined: a mixture of several
 * - `write`: the register now has this value. Sectors beyond the end cannot be written
 * - `cut`: the disk now ends before the sector. `appear`: the disk now includes the sector
 * - `refused`: the sector was found to be beyond the end
 * - `save`, `restore`: the value is saved, or restored, under a name (snapshots)
 */
export type Effect = (
  | { readonly kind: 'read'; readonly value: number | undefined }
  | { readonly kind: 'write'; readonly value: number }
  | { readonly kind: 'cut' | 'appear' | 'refused' }
  | { readonly kind: 'save' | 'restore'; readonly name: string }
) & { readonly optional?: boolean }

/** A sector number, or the name of other state that is written and read as a whole (the access mode). */
export type Register = number | string

/** When a request began and ended, on a logical clock. */
interface Span {
  /** For messages. */
  readonly what: string
  readonly invoked: number
  /** Infinity: the request never ended; its reads do not count, its effects may or may not have happened. */
  readonly responded: number
}

/** A request. */
export interface Call extends Span {
  /** Notes an effect on a register. Several are separate steps: others may see the state in between. */
  on(register: Register, effect: Effect): void
  /** Notes an effect on every sector. */
  onSectors(effect: (sector: number) => Effect): void
  /** The request has ended. */
  end(): void
}

/** One effect of a request on a register. */
interface Step {
  readonly call: Span
  readonly effect: Effect
}

/** The state of a register: its value, and the values saved in snapshots. */
interface State {
  readonly value: number
  readonly saved: ReadonlyMap<string, number>
}

class Recorded implements Call {
  readonly what: string
  readonly invoked: number
  responded = Number.POSITIVE_INFINITY
  readonly #history: History

  constructor(history: History, what: string) {
    this.#history = history
    this.what = what
    this.invoked = history.tick()
  }

  on(register: Register, effect: Effect): void {
    this.#history.note(register, { call: this, effect })
  }

  onSectors(effect: (sector: number) => Effect): void {
    for (let sector = 0; sector < this.#history.sectors; sector++) this.on(sector, effect(sector))
  }

  end(): void {
    this.responded = this.#history.tick()
  }
}

/** All requests to a disk, and their results. */
export class History {
  /** Number of sectors of the disk at its largest. */
  readonly sectors: number
  readonly #steps = new Map<Register, Step[]>()
  #now = 0

  constructor(sectors: number) {
    this.sectors = sectors
  }

  /** A request begins. */
  invoke(what: string): Call {
    return new Recorded(this, what)
  }

  /** @internal */
  tick(): number {
    return ++this.#now
  }

  /** @internal */
  note(register: Register, step: Step): void {
    const steps = this.#steps.get(register)
    if (steps) steps.push(step)
    else this.#steps.set(register, [step])
  }

  /**
   * Searches for an order of the requests that explains their results.
   *
   * @param initial the value of a register before the first request
   * @returns a text about what cannot be explained; undefined if everything can
   */
  judge(initial: (register: Register) => number): string | undefined {
    for (const [register, steps] of this.#steps) {
      const start = initial(register)
      // Effects are noted late (a read's, once its values are known): order them by the start of the request.
      steps.sort((a, b) => a.call.invoked - b.call.invoked)
      if (!isExplained(steps, start)) return complaint(register, steps, start)
    }
    return undefined
  }
}

/** The possible states of a register after an effect; none if it could not have happened now. */
function after(effect: Effect, state: State): State[] {
  const states = done(effect, state)
  return effect.optional && states[0] !== state ? [state, ...states] : states
}

function done(effect: Effect, state: State): State[] {
  const to = (value: number): State => (value === state.value ? state : { ...state, value })
  const { value } = state
  switch (effect.kind) {
    case 'read':
      return effect.value === value ? [state] : []
    case 'write':
      return value === ABSENT ? [] : [to(effect.value)]
    case 'cut':
      return [to(ABSENT)]
    case 'appear':
      return [value === ABSENT ? to(0) : state]
    case 'refused':
      return value === ABSENT ? [state] : []
    case 'save':
      return [{ value, saved: new Map(state.saved).set(effect.name, value) }]
    case 'restore': {
      const saved = state.saved.get(effect.name)
      return saved === undefined ? [] : [to(saved)]
    }
  }
}

/** A position in the search: which requests have taken effect, and the state of the register. */
interface Search {
  /** All requests below this index have taken effect, and so have those in `ahead`, which are above it. */
  readonly low: number
  readonly ahead: readonly number[]
  readonly state: State
}

const keyOf = ({ low, ahead, state }: Search): string =>
  `${low} ${ahead.join()} ${state.value} ${[...state.saved].join()}`

/** Whether some order of the requests (given sorted by their start) explains their results. */
function isExplained(steps: readonly Step[], initial: number): boolean {
  const seen = new Set<string>()
  const stack: Search[] = [{ low: 0, ahead: [], state: { value: initial, saved: new Map() } }]
  for (let search = stack.pop(); search; search = stack.pop()) {
    if (isOver(steps, search)) return true
    const key = keyOf(search)
    if (seen.has(key)) continue
    seen.add(key)
    stack.push(...nextSearches(steps, search))
  }
  return false
}

/** Whether all requests that ended have taken effect. */
function isOver(steps: readonly Step[], { low, ahead }: Search): boolean {
  for (let index = low; index < steps.length; index++)
    if (steps[index]!.call.responded < Number.POSITIVE_INFINITY && !ahead.includes(index)) return false
  return true
}

/** The next positions: any remaining request that began before all others had ended may come next. */
function nextSearches(steps: readonly Step[], search: Search): Search[] {
  const searches: Search[] = []
  let limit = Number.POSITIVE_INFINITY
  for (let index = search.low; index < steps.length; index++) {
    if (search.ahead.includes(index)) continue
    const { call, effect } = steps[index]!
    if (call.invoked > limit) break
    limit = Math.min(limit, call.responded)
    const states = after(effect, search.state)
    // A read that is possible now can always come now: it changes nothing for the other requests.
    if (looks(effect) && states.length > 0) return [taken(search, index, search.state)]
    for (const state of states) searches.push(taken(search, index, state))
  }
  // The request that began first is tried first.
  return searches.reverse()
}

const looks = ({ kind, optional }: Effect): boolean => !optional && (kind === 'read' || kind === 'refused')

function taken({ low, ahead }: Search, index: number, state: State): Search {
  const done = [...ahead, index].sort((a, b) => a - b)
  let next = low
  while (done[0] === next) {
    done.shift()
    next++
  }
  return { low: next, ahead: done, state }
}

const spanOf = ({ what, invoked, responded }: Span): Span => ({ what, invoked, responded })

/** The history up to a moment. Requests still running may have taken effect; their reads are left out. */
function upTo(steps: readonly Step[], moment: number): Step[] {
  return steps.flatMap(({ call, effect }) => {
    if (call.invoked > moment) return []
    if (call.responded <= moment) return [{ call, effect }]
    if (looks(effect)) return []
    return [{ call: { ...spanOf(call), responded: Number.POSITIVE_INFINITY }, effect }]
  })
}

/** Describes the request at which the history stops making sense. */
function complaint(register: Register, steps: readonly Step[], initial: number): string {
  const name = typeof register === 'number' ? `sector ${register}` : register
  const ends = steps.map(({ call }) => call.responded).sort((a, b) => a - b)
  const end = ends.find((moment) => !isExplained(upTo(steps, moment), initial))
  const culprit = steps.find(({ call }) => call.responded === end)
  const lines = steps
    .filter(({ call }) => end === undefined || call.invoked <= end)
    .map(({ call, effect }) => `  [${call.invoked}, ${call.responded}] ${call.what}: ${describe(effect)}`)
  const found = culprit ? `"${culprit.call.what}", which ended at ${end} (${describe(culprit.effect)})` : 'it'
  return [`${name}: no order of the requests explains ${found}; it began as ${initial}`, ...lines].join('\n')
}

const describe = (effect: Effect): string => (effect.optional ? 'maybe ' : '') + described(effect)

function described(effect: Effect): string {
  switch (effect.kind) {
    case 'read':
      return effect.value === undefined ? 'found a mixture' : `found ${effect.value}`
    case 'save':
    case 'restore':
      return `${effect.kind} ${effect.name}`
    case 'write':
      return `write ${effect.value}`
    default:
      return effect.kind
  }
}
