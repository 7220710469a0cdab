/**
 * Judges what requests that ran at the same time saw of a disk. Every sector is a register of its own: an order
 * of the requests must exist that respects who ended before who began, and in which each read finds what was
 * there (linearizability, per sector). Then no read is stale, none goes back behind a newer one, no write is
 * lost, and no sector is a mixture.
 *
 * The search goes through such orders one request at a time (Wing and Gong), and remembers where it has been.
 */

/** What a sector holds that lies beyond the disk's end. */
export const ABSENT = -1

/**
 * What one request does to one register. Values are whole numbers; 0 stands for zeroes. What is `optional` was done or
 * not: by a discard, say, or by a request that failed.
 *
 * - `read`: it found this value; undefined: a mixture of several
 * - `write`: it holds this value now. Sectors beyond the end cannot be written
 * - `cut`: the disk now ends before it. `appear`: the disk now reaches beyond it
 * - `refused`: it was found to lie beyond the end
 * - `save`, `restore`: the value is kept, or brought back, under a name (snapshots)
 */
export type Effect = (
  | { readonly kind: 'read'; readonly value: number | undefined }
  | { readonly kind: 'write'; readonly value: number }
  | { readonly kind: 'cut' | 'appear' | 'refused' }
  | { readonly kind: 'save' | 'restore'; readonly name: string }
) & { readonly optional?: boolean }

/** A sector's number, or the name of another thing that is written and read as a whole (the access mode, say). */
export type Register = number | string

/** When a request began and ended, on a clock that only counts. */
interface Span {
  /** For messages. */
  readonly what: string
  readonly invoked: number
  /** Infinity: it never ended, and so has seen nothing, and may have done what it does or not. */
  readonly responded: number
}

/** A request. */
export interface Call extends Span {
  /** Notes what it does to a register. Several things are done one by one, and others may see what is between. */
  on(register: Register, effect: Effect): void
  /** Notes what it does to every sector. */
  onSectors(effect: (sector: number) => Effect): void
  /** It has ended. */
  end(): void
}

/** One request, as one register sees it. */
interface Step {
  readonly call: Span
  readonly effect: Effect
}

/** What a register holds; snapshots aside, that is a value. */
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

/** Everything that was done to a disk, and what was seen of it. */
export class History {
  /** How many sectors the disk has when it is largest. */
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
   * Looks for an order of the requests that explains what was seen.
   *
   * @param initial what a register held before the first request
   * @returns what cannot be explained, for a person; undefined: nothing
   */
  judge(initial: (register: Register) => number): string | undefined {
    for (const [register, steps] of this.#steps) {
      const start = initial(register)
      // What was noted late (the values that a read found) began early.
      steps.sort((a, b) => a.call.invoked - b.call.invoked)
      if (!isExplained(steps, start)) return complaint(register, steps, start)
    }
    return undefined
  }
}

/** What a register may hold after a request; nothing: the request could not have happened now. */
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

/** A place in the search: which requests have taken effect, and what the register holds now. */
interface Place {
  /** All requests below this index have taken effect, and those of `ahead`, which lie above. */
  readonly low: number
  readonly ahead: readonly number[]
  readonly state: State
}

const keyOf = ({ low, ahead, state }: Place): string =>
  `${low} ${ahead.join()} ${state.value} ${[...state.saved].join()}`

/** Whether an order of requests, sorted by when they began, explains what they saw. */
function isExplained(steps: readonly Step[], initial: number): boolean {
  const seen = new Set<string>()
  const stack: Place[] = [{ low: 0, ahead: [], state: { value: initial, saved: new Map() } }]
  for (let place = stack.pop(); place; place = stack.pop()) {
    if (isOver(steps, place)) return true
    const key = keyOf(place)
    if (seen.has(key)) continue
    seen.add(key)
    stack.push(...nextPlaces(steps, place))
  }
  return false
}

/** Whether every request that ended has taken effect. */
function isOver(steps: readonly Step[], { low, ahead }: Place): boolean {
  for (let index = low; index < steps.length; index++)
    if (steps[index]!.call.responded < Number.POSITIVE_INFINITY && !ahead.includes(index)) return false
  return true
}

/** Where the search may go on: whichever request began before any that is left had ended may be next. */
function nextPlaces(steps: readonly Step[], place: Place): Place[] {
  const places: Place[] = []
  let limit = Number.POSITIVE_INFINITY
  for (let index = place.low; index < steps.length; index++) {
    if (place.ahead.includes(index)) continue
    const { call, effect } = steps[index]!
    if (call.invoked > limit) break
    limit = Math.min(limit, call.responded)
    const states = after(effect, place.state)
    // What only looks, and is possible now, may as well be now: it is in nobody's way.
    if (looks(effect) && states.length > 0) return [taken(place, index, place.state)]
    for (const state of states) places.push(taken(place, index, state))
  }
  // The one that began first is tried first.
  return places.reverse()
}

const looks = ({ kind, optional }: Effect): boolean => !optional && (kind === 'read' || kind === 'refused')

function taken({ low, ahead }: Place, index: number, state: State): Place {
  const done = [...ahead, index].sort((a, b) => a - b)
  let next = low
  while (done[0] === next) {
    done.shift()
    next++
  }
  return { low: next, ahead: done, state }
}

const spanOf = ({ what, invoked, responded }: Span): Span => ({ what, invoked, responded })

/** The history up to a moment: what had not ended by then may have taken effect or not, and has seen nothing. */
function upTo(steps: readonly Step[], moment: number): Step[] {
  return steps.flatMap(({ call, effect }) => {
    if (call.invoked > moment) return []
    if (call.responded <= moment) return [{ call, effect }]
    if (looks(effect)) return []
    return [{ call: { ...spanOf(call), responded: Number.POSITIVE_INFINITY }, effect }]
  })
}

/** Says at which request the history stops making sense. */
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
