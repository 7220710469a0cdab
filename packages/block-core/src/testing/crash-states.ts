/**
 * The sets of disks that a power cut may leave, from a log of the writes. Writes covered by a completed flush
 * of their disk are durable; of later ones, any part may be: whole requests lost, reordered, or torn at
 * sectors. All disks of a log lose power at the same moment.
 */
import { alignDown, SECTOR } from '../base/bits.ts'
import type { LogEntry, WriteLog } from '../drivers/write-log.ts'
import { type CrashDisk, joinFingerprints } from './crash-disk.ts'
import type { Random } from './random.ts'

/** The disks of a scene, by their names in the log. */
export type CrashDisks = ReadonlyMap<string, CrashDisk>

/** How many states are made from one log. */
export interface CrashPlan {
  readonly random: Random
  /** Number of moments to examine; all of them if there are fewer. */
  readonly moments: number
  /** Number of states per moment; all combinations of the pending requests' fates if there are fewer. */
  readonly disksPerMoment: number
}

/** One state that a power cut may leave. */
export interface CrashState {
  /** The power cut comes just before this tick of the log's clock. */
  readonly moment: number
  /** Forks of the disks, which the receiver may change. */
  readonly disks: CrashDisks
  /** Equal for states with equal disks. */
  readonly fingerprint: number
  /** What became of each request that no flush covered, for messages. */
  story(): string
}

/** What happens to a request that is not durable. */
type Fate = 'kept' | 'lost' | 'torn'

/** Copies that may be written to without changing the originals. */
export const forkDisks = (disks: CrashDisks): Map<string, CrashDisk> =>
  new Map([...disks].map(([name, disk]) => [name, disk.fork()]))

/** Generates states of a log, in order of time. `bases` are the disks before the first entry. */
export function* crashStates(bases: CrashDisks, log: WriteLog, plan: CrashPlan): Generator<CrashState> {
  const timeline = new Timeline(bases, log)
  for (const moment of momentsOf(log, plan)) {
    timeline.advance(moment)
    const pending = [...timeline.pending]
    for (const fates of fatesOf(pending, plan)) {
      const disks = forkDisks(timeline.durable)
      for (const [i, entry] of pending.entries()) strike(disks, entry, fates[i]!, plan.random)
      const fingerprint = joinFingerprints([...disks.values()].map((disk) => disk.fingerprint()))
      yield { moment, disks, fingerprint, story: () => storyOf(pending, fates, disks.size > 1) }
    }
  }
}

const storyOf = (pending: readonly LogEntry[], fates: readonly Fate[], isMany: boolean): string =>
  pending
    .map(({ kind, disk, offset, bytes, submitted }, i) => {
      const where = isMany ? `${disk}:` : ''
      return `#${submitted} ${kind}@${where}${offset}+${bytes}:${fates[i]}`
    })
    .join(' ')

/** Share of moments just before a flush completes, when the most may be lost. */
const BEFORE_FLUSHES = 0.6

/** Chooses moments to examine, among all between two ticks of the clock. */
function momentsOf(log: WriteLog, { random, moments }: CrashPlan): number[] {
  if (log.now < moments) return Array.from({ length: log.now + 1 }, (_, moment) => moment)
  const ends = log.entries.flatMap(({ kind, completed }) =>
    kind === 'flush' && completed !== undefined ? completed : [],
  )
  const chosen = new Set<number>([log.now])
  const wanted = Math.min(moments * BEFORE_FLUSHES, ends.length)
  while (chosen.size < wanted) chosen.add(random.pick(ends))
  while (chosen.size < moments) chosen.add(random.int(0, log.now + 1))
  return [...chosen].sort((a, b) => a - b)
}

/** Tracks what is durable, and what may be, as time advances. */
class Timeline {
  /** Submitted requests that are not certainly on the disk, in the order of submission. */
  readonly pending = new Set<LogEntry>()
  /** The disks with all durable data. */
  readonly durable: CrashDisks
  readonly #events: readonly { readonly tick: number; readonly entry: LogEntry; readonly isEnd: boolean }[]
  #next = 0

  constructor(bases: CrashDisks, log: WriteLog) {
    this.durable = forkDisks(bases)
    this.#events = log.entries
      .flatMap((entry) => [
        { tick: entry.submitted, entry, isEnd: false },
        ...(entry.completed === undefined ? [] : [{ tick: entry.completed, entry, isEnd: true }]),
      ])
      .sort((a, b) => a.tick - b.tick)
  }

  /** Processes all events with a tick below `moment`. */
  advance(moment: number): void {
    for (; this.#next < this.#events.length && this.#events[this.#next]!.tick < moment; this.#next++) {
      const { entry, isEnd } = this.#events[this.#next]!
      if (entry.kind !== 'flush') {
        if (!isEnd) this.pending.add(entry)
        else if ('fua' in entry && entry.fua) this.#makeDurable(entry)
      } else if (isEnd) {
        for (const other of this.pending) {
          const isCovered = other.completed !== undefined && other.completed < entry.submitted
          if (isCovered && other.disk === entry.disk) this.#makeDurable(other)
        }
      }
    }
  }

  /** Makes a request durable. Overlapping requests that become durable out of order ran at the same time. */
  #makeDurable(entry: LogEntry): void {
    this.pending.delete(entry)
    this.durable.get(entry.disk)!.apply(entry)
  }
}

/** A request within one sector is atomic; others may be torn. */
const isTearable = ({ kind, offset, bytes }: LogEntry): boolean =>
  kind !== 'truncate' && alignDown(offset, SECTOR) + SECTOR < offset + bytes

const WHOLE: readonly Fate[] = ['lost', 'kept']
const ANY: readonly Fate[] = ['lost', 'kept', 'torn']

function* fatesOf(pending: readonly LogEntry[], { random, disksPerMoment }: CrashPlan): Generator<Fate[]> {
  const count = pending.length
  const choices = pending.map((entry) => (isTearable(entry) ? ANY : WHOLE))
  const all = choices.reduce((product, { length }) => product * length, 1)
  if (all <= disksPerMoment) {
    for (let number = 0; number < all; number++) {
      let rest = number
      yield choices.map((fates) => {
        const fate = fates[rest % fates.length]!
        rest = Math.floor(rest / fates.length)
        return fate
      })
    }
    return
  }
  yield pending.map(() => 'kept')
  yield pending.map(() => 'lost')
  for (let i = 2; i < disksPerMoment; i++) {
    if (i % 2 === 0) {
      // Half of the samples lose, or keep, a single request: most bugs need no more.
      const odd = random.int(0, count)
      const [rule, exception]: readonly Fate[] = random.chance(0.5) ? ['kept', 'lost'] : ['lost', 'kept']
      yield pending.map((_, n) => (n === odd ? exception! : rule!))
    } else {
      const kept = random.pick([0.15, 0.5, 0.85])
      yield choices.map((fates) =>
        fates === ANY && random.chance(0.3) ? 'torn' : random.chance(kept) ? 'kept' : 'lost',
      )
    }
  }
}

/** Applies to a disk what remains of a request. */
function strike(disks: CrashDisks, entry: LogEntry, fate: Fate, random: Random): void {
  if (fate === 'lost') return
  disks.get(entry.disk)!.apply(entry, fate === 'torn' ? tornParts(entry, random) : undefined)
}

/** Some of a request's sectors: a random selection, or a prefix. */
function* tornParts({ offset, bytes }: LogEntry, random: Random): Generator<readonly [number, number]> {
  const isPrefix = random.chance(0.3)
  const until = offset + random.int(0, bytes)
  for (let at = offset; at < offset + bytes; ) {
    const next = Math.min(alignDown(at, SECTOR) + SECTOR, offset + bytes)
    if (isPrefix ? next <= until : random.chance(0.5)) yield [at - offset, next - offset]
    at = next
  }
}
