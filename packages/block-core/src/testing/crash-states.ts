/**
 * Every disk that a power cut may leave, from a log of what was written. What a completed flush covers is there;
 * of what came later any part may be: whole writes lost, reordered, or torn at sectors.
 */
import { alignDown, SECTOR } from '../bits.ts'
import type { LogEntry, WriteLog } from '../drivers/write-log.ts'
import type { Random } from './random.ts'

/** How many disks are made of one moment. */
export interface CrashPlan {
  readonly random: Random
  /** Moments to look at; all of them if there are no more. */
  readonly moments: number
  /** Disks at one moment: all subsets of the pending writes if there are no more, else so many of them. */
  readonly disksPerMoment: number
}

/** One disk that a power cut may leave. */
export interface CrashState {
  /** Tick of the log's clock: the power went just before it. */
  readonly moment: number
  /** The disk's bytes; a fresh array. */
  readonly disk: Uint8Array
  /** What became of each write that no flush covered, for messages. */
  readonly story: string
}

/** What happens to a write that is not durable. */
type Fate = 'kept' | 'lost' | 'torn'

/** Goes through the disks of a log, in order of time. `base` is the disk before the first entry. */
export function* crashStates(base: Uint8Array, log: WriteLog, plan: CrashPlan): Generator<CrashState> {
  for (const moment of momentsOf(log, plan)) {
    const begun = log.entries.filter((entry) => entry.submitted < moment && entry.kind !== 'flush')
    const isDurable = durability(log, moment)
    const pending = begun.filter((entry) => !isDurable(entry))
    for (const fates of fatesOf(pending.length, plan)) {
      const fateOf = new Map(pending.map((entry, i) => [entry, fates[i]!]))
      let disk: Uint8Array = base.slice()
      for (const entry of begun) disk = apply(disk, entry, fateOf.get(entry) ?? 'kept', plan.random)
      const story = pending
        .map((entry, i) => `${entry.kind}@${entry.offset}+${entry.bytes}:${fates[i]}`)
        .join(' ')
      yield { moment, disk, story }
    }
  }
}

/** Moments just after something was submitted or completed. */
function momentsOf(log: WriteLog, { random, moments }: CrashPlan): number[] {
  const all = new Set<number>([log.now])
  for (const { submitted, completed } of log.entries) {
    all.add(submitted + 1)
    if (completed !== undefined) all.add(completed + 1)
  }
  const list = [...all].sort((a, b) => a - b)
  while (list.length > moments) list.splice(random.int(0, list.length), 1)
  return list
}

/** Which writes are on stable storage for sure at a moment. */
function durability(log: WriteLog, moment: number): (entry: LogEntry) => boolean {
  let covered = -1
  for (const { kind, submitted, completed } of log.entries) {
    if (kind === 'flush' && completed !== undefined && completed < moment)
      covered = Math.max(covered, submitted)
  }
  return ({ completed }) => completed !== undefined && completed < covered
}

function* fatesOf(count: number, { random, disksPerMoment }: CrashPlan): Generator<Fate[]> {
  if (count < 12 && 2 ** count <= disksPerMoment) {
    for (let bits = 0; bits < 2 ** count; bits++)
      yield Array.from({ length: count }, (_, i) => ((bits >> i) & 1 ? 'kept' : 'lost'))
    return
  }
  yield Array.from({ length: count }, () => 'kept')
  yield Array.from({ length: count }, () => 'lost')
  for (let i = 2; i < disksPerMoment; i++) {
    // Half of the samples lose, or keep, one write alone: most bugs need no more.
    const odd = random.int(0, count)
    const [rule, exception]: readonly Fate[] = random.int(0, 2) === 0 ? ['kept', 'lost'] : ['lost', 'kept']
    yield i % 2 === 0
      ? Array.from({ length: count }, (_, n) => (n === odd ? exception! : rule!))
      : Array.from({ length: count }, () => random.pick(['kept', 'lost', 'torn'] as const))
  }
}

function apply(disk: Uint8Array, entry: LogEntry, fate: Fate, random: Random): Uint8Array {
  if (fate === 'lost') return disk
  if (entry.kind === 'truncate') return resized(disk, entry.size)
  if (entry.kind !== 'write' && entry.kind !== 'write-zeroes' && entry.kind !== 'discard') return disk
  const end = entry.offset + entry.bytes
  const target = entry.kind !== 'discard' && end > disk.length ? resized(disk, end) : disk
  const data = entry.kind === 'write' ? entry.data! : new Uint8Array(entry.bytes)
  for (let at = entry.offset; at < end; ) {
    const next = Math.min(alignDown(at, SECTOR) + SECTOR, end)
    if (at >= target.length) break // a discard of what a truncation cut off before
    if (fate === 'kept' || random.int(0, 2) === 0)
      target.set(
        data.subarray(at - entry.offset, next - entry.offset).subarray(0, Math.max(0, target.length - at)),
        at,
      )
    at = next
  }
  return target
}

function resized(disk: Uint8Array, size: number): Uint8Array {
  if (size <= disk.length) return disk.slice(0, size)
  const larger = new Uint8Array(size)
  larger.set(disk)
  return larger
}
