/** Throttle groups: disks that share limits. Their requests pass in turns, one disk after another. */
import { expects, requireText } from '../base/arguments.ts'
import { type Clock, systemClock } from '../base/clock.ts'
import { BlockError } from '../base/errors.ts'
import { checkLimits, type Direction, ThrottleBuckets, type ThrottleLimits } from './throttle-limits.ts'

/** A request that has to wait. */
interface Waiting {
  readonly bytes: number
  pass(): void
  fail(error: unknown): void
}

/** The requests of one disk that wait. */
export class ThrottleMember {
  readonly #group: ThrottleGroup
  /** @internal */
  readonly waiting: Readonly<Record<Direction, Waiting[]>> = { read: [], write: [] }
  #isFree = false

  /** @internal */
  constructor(group: ThrottleGroup) {
    this.#group = group
  }

  /** The group's limits do not hold for this disk: requests pass at once, and those that wait do so now. */
  set isFree(isFree: boolean) {
    this.#isFree = isFree
    if (isFree) this.#end(({ pass }) => pass())
  }
  get isFree(): boolean {
    return this.#isFree
  }

  /** Lets a request of some bytes pass. @returns undefined: it may do so now */
  pass(direction: Direction, bytes: number): Promise<void> | undefined {
    return this.#group.take(this, direction, bytes)
  }

  /** Ends the membership. Requests that wait fail with `error`; without one there must be none. */
  leave(error?: unknown): void {
    this.#end(({ fail }) => fail(error))
    this.#group.drop(this)
  }

  #end(how: (request: Waiting) => void): void {
    for (const requests of Object.values(this.waiting)) for (const request of requests.splice(0)) how(request)
    this.#group.settle()
  }
}

/** The requests of one direction: at most one timer for all of them. */
class Lane {
  readonly direction: Direction
  readonly #members: ThrottleMember[]
  readonly #clock: Clock
  #cancel: (() => void) | undefined
  /** Whose request passed last. */
  #last: ThrottleMember | undefined

  constructor(direction: Direction, members: ThrottleMember[], clock: Clock) {
    this.direction = direction
    this.#members = members
    this.#clock = clock
  }

  get isWaiting(): boolean {
    return this.#members.some(({ waiting }) => waiting[this.direction].length > 0)
  }

  /** Lets pass what may pass, and sets the timer for the next. */
  serve(buckets: ThrottleBuckets): void {
    this.#cancel?.()
    this.#cancel = undefined
    for (let member = this.#next(); member; member = this.#next()) {
      const wait = buckets.wait(this.direction, this.#clock.now())
      if (wait > 0) {
        this.#cancel = this.#clock.after(wait, () => this.serve(buckets))
        return
      }
      const { bytes, pass } = member.waiting[this.direction].shift()!
      this.#last = member
      buckets.count(this.direction, bytes)
      pass()
    }
  }

  /** The next disk, in turns, with a request that waits. */
  #next(): ThrottleMember | undefined {
    const start = this.#members.indexOf(this.#last!) + 1
    const inTurn = [...this.#members.slice(start), ...this.#members.slice(0, start)]
    return inTurn.find(({ waiting }) => waiting[this.direction].length > 0)
  }
}

/** Limits that disks share. */
export class ThrottleGroup {
  readonly name: string
  readonly #clock: Clock
  readonly #members: ThrottleMember[] = []
  readonly #lanes: Readonly<Record<Direction, Lane>>
  #limits: ThrottleLimits
  #buckets: ThrottleBuckets

  /** @throws BlockError EINVAL for limits that contradict each other */
  constructor(name: string, limits: ThrottleLimits, clock: Clock) {
    this.name = name
    this.#clock = clock
    this.#limits = { ...limits }
    this.#buckets = new ThrottleBuckets(limits, clock.now())
    this.#lanes = {
      read: new Lane('read', this.#members, clock),
      write: new Lane('write', this.#members, clock),
    }
  }

  /** The limits; setting them takes effect at once. @throws BlockError EINVAL if they contradict each other */
  get limits(): ThrottleLimits {
    return this.#limits
  }
  set limits(limits: ThrottleLimits) {
    checkLimits(limits)
    this.#limits = { ...limits }
    this.#buckets = new ThrottleBuckets(limits, this.#clock.now())
    this.settle()
  }

  /** Number of disks in the group. */
  get size(): number {
    return this.#members.length
  }

  /** @internal Adds a disk. */
  join(): ThrottleMember {
    const member = new ThrottleMember(this)
    this.#members.push(member)
    return member
  }

  /** @internal */
  take(member: ThrottleMember, direction: Direction, bytes: number): Promise<void> | undefined {
    const lane = this.#lanes[direction]
    if (member.isFree || (!lane.isWaiting && this.#buckets.wait(direction, this.#clock.now()) <= 0)) {
      this.#buckets.count(direction, bytes)
      return undefined
    }
    const isFirst = !lane.isWaiting
    return new Promise((pass, fail) => {
      member.waiting[direction].push({ bytes, pass, fail })
      if (isFirst) lane.serve(this.#buckets)
    })
  }

  /** @internal Removes a disk. */
  drop(member: ThrottleMember): void {
    const at = this.#members.indexOf(member)
    if (at >= 0) this.#members.splice(at, 1)
    this.settle()
  }

  /** @internal Something changed: sets the timers anew, if any request still waits. */
  settle(): void {
    for (const lane of Object.values(this.#lanes)) lane.serve(this.#buckets)
  }
}

/** A name that QEMU's objects may have. */
const IDENTIFIER = /^[a-z][-._a-z0-9]*$/i

const requireClock = expects('a clock: { now, after }', (value) => {
  const { now, after } = (value ?? {}) as Partial<Clock>
  return typeof now === 'function' && typeof after === 'function'
})

/** The throttle groups of an application, by name. */
export class ThrottleGroups {
  readonly #clock: Clock
  readonly #groups = new Map<string, ThrottleGroup>()

  /** @param clock milliseconds; tests give one that they turn. @throws BlockError EINVAL */
  constructor(clock: Clock = systemClock) {
    requireClock(clock, 'clock')
    this.#clock = clock
  }

  /**
   * Makes a group.
   *
   * @param limits bytes or requests a second
   * @throws BlockError EINVAL if the name is taken, or is none; if limits contradict each other
   */
  define(name: string, limits: ThrottleLimits): ThrottleGroup {
    requireText(name, 'name')
    if (!IDENTIFIER.test(name)) throw new BlockError('EINVAL', "Parameter 'name' expects an identifier")
    if (this.#groups.has(name)) throw new BlockError('EINVAL', 'A group with this name already exists')
    const group = new ThrottleGroup(name, limits, this.#clock)
    this.#groups.set(name, group)
    return group
  }

  /** The group of that name, or undefined. @throws BlockError EINVAL for a name that is no text */
  find(name: string): ThrottleGroup | undefined {
    requireText(name, 'name')
    return this.#groups.get(name)
  }

  /** Forgets a group. @throws BlockError EBUSY while disks are in it; ENOENT */
  remove(name: string): void {
    const group = this.find(name)
    if (!group) throw new BlockError('ENOENT', `Throttle group '${name}' does not exist`)
    if (group.size > 0) throw new BlockError('EBUSY', `object '${name}' is in use, can not be deleted`)
    this.#groups.delete(name)
  }
}
