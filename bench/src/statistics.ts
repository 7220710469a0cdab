/** Medians and spreads. Times of programs have long tails, so nothing here is a mean. */
import { medianAbsoluteDeviation, quantileSorted } from 'simple-statistics'

/** Several measurements of one thing. */
export interface Summary {
  readonly median: number
  /** Lower and upper quartile. */
  readonly q1: number
  readonly q3: number
  /** Median absolute deviation. */
  readonly mad: number
  readonly count: number
}

/**
 * Summarizes measurements; undefined for none. Values that are not finite mean no measurement, and are
 * ignored.
 */
export function summarize(values: readonly number[]): Summary | undefined {
  const sorted = values.filter(Number.isFinite).sort((a, b) => a - b)
  if (sorted.length === 0) return undefined
  return {
    median: quantileSorted(sorted, 0.5),
    q1: quantileSorted(sorted, 0.25),
    q3: quantileSorted(sorted, 0.75),
    mad: medianAbsoluteDeviation(sorted),
    count: sorted.length,
  }
}

/**
 * The ratios of `over` to `under`, in pairs from one round each: what disturbs a round disturbs both. Pairs
 * without two positive numbers are ignored.
 */
export function ratios(over: readonly number[], under: readonly number[]): Summary | undefined {
  const pairs = over.map((value, round) => ratioOf(value, under[round] ?? Number.NaN))
  return summarize(pairs)
}

const ratioOf = (over: number, under: number): number => (over > 0 && under > 0 ? over / under : Number.NaN)
