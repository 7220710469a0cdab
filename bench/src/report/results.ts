/** The results of a run: plain data, as saved in JSON; and their verdicts. */
import type { Counts } from '../counts/counts.ts'
import type { Machine } from '../machine.ts'
import type { Sample, Samples } from '../rounds.ts'
import { ratios, type Summary, summarize } from '../statistics.ts'
import { QEMU, type Target, type Workload } from '../workload.ts'

/** One row. */
export interface RowResult extends Pick<Workload, 'id' | 'title' | 'medium' | 'unit'> {
  readonly target?: Target
  /** `later`: not built yet. */
  readonly state: 'measured' | 'later' | 'failed'
  /** Why a row failed. */
  readonly reason?: string
  /** By side, then by round; microseconds. */
  readonly samples: Samples
  readonly counts?: Readonly<Record<string, Counts>>
}

/** A runtime, without its path on the machine. */
export interface RuntimeName {
  readonly id: string
  readonly version: string
}

/** All results. */
export interface Results {
  readonly kind: 'vmblock programs'
  readonly machine: Machine
  readonly rounds: number
  readonly quick: boolean
  readonly runtimes: readonly RuntimeName[]
  readonly rows: readonly RowResult[]
}

/** How well a target is met. */
export type Level = 'aim' | 'must' | 'missed'

/** One row for one runtime. */
export interface Verdict {
  /** The figure of the target, by wall clock or by count. */
  readonly wall: Summary | undefined
  /** The same by processor time; undefined for counts. */
  readonly cpu: Summary | undefined
  readonly level: Level | undefined
  readonly cpuLevel: Level | undefined
}

/** Whether a row's figure is better when it is smaller. */
export const lessIsBetter = (target: Target | undefined): boolean =>
  target?.of === 'start' || target?.of === 'flushes'

/** Judges one figure. */
export function levelOf(target: Target | undefined, value: number | undefined): Level | undefined {
  if (target === undefined || value === undefined) return undefined
  const reaches = (bound: number): boolean => (lessIsBetter(target) ? value <= bound : value >= bound)
  if (reaches(target.aim)) return 'aim'
  return reaches(target.must) ? 'must' : 'missed'
}

const only = (samples: readonly Sample[] | undefined, what: keyof Sample): number[] =>
  (samples ?? []).map((sample) => sample[what])

/** Judges one row for one runtime: by the ratio to QEMU, or to an empty script if the target says so. */
export function judge(row: RowResult, runtime: string): Verdict {
  const { target, samples, counts } = row
  if (target?.of === 'flushes') {
    const wall = ratios([counts?.[runtime]?.flushes ?? Number.NaN], [counts?.[QEMU]?.flushes ?? Number.NaN])
    return { wall, cpu: undefined, level: levelOf(target, wall?.median), cpuLevel: undefined }
  }
  const compare = (what: keyof Sample): Summary | undefined => {
    const mine = only(samples[runtime], what)
    return target?.of === 'start'
      ? ratios(mine, only(samples[`empty ${runtime}`], what))
      : ratios(only(samples[QEMU], what), mine)
  }
  const wall = compare('wall')
  const cpu = compare('cpu')
  return { wall, cpu, level: levelOf(target, wall?.median), cpuLevel: levelOf(target, cpu?.median) }
}

/** QEMU's time divided by ours, whatever the target compares. */
export const ratioToQemu = (row: RowResult, runtime: string, what: keyof Sample): Summary | undefined =>
  ratios(only(row.samples[QEMU], what), only(row.samples[runtime], what))

/** The time of one side. */
export const timeOf = (row: RowResult, side: string, what: keyof Sample): Summary | undefined =>
  summarize(only(row.samples[side], what))
