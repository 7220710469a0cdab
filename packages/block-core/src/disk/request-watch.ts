/**
 * Error policies and latencies of a handle: loaded when the first is set, since most handles have neither.
 *
 * No value is imported from what pages load at start: bundlers would split that into more files.
 */
import type { wrongValue } from '../base/arguments.ts'
import {
  actionFor,
  type ErrorPolicy,
  isRecord,
  requireErrorPolicy,
  type TakenAction,
} from './error-policy.ts'
import type { LatencyHistogram, RequestKind } from './statistics.ts'

/** Boundaries of the bins for each kind that is measured, in milliseconds. */
export type LatencyBoundaries = Partial<Record<RequestKind, readonly number[]>>

/** A request, and what its handle does about failures. */
export interface WatchedRequest {
  run(): Promise<void>
  /** Counts and announces a failure. @returns whether the node failed; otherwise the request itself was wrong */
  failed(error: unknown, action: TakenAction): boolean
  /** Holds all requests back from now on. */
  stop(error: unknown): void
  /** Waits until nothing holds requests back. @throws BlockError if the handle is closed */
  ready(): Promise<void>
}

interface Histogram extends LatencyHistogram {
  readonly counts: number[]
  total: number
}

/** See the head of this file. */
export class RequestWatch {
  #policy: ErrorPolicy
  readonly #histograms = new Map<RequestKind, Histogram>()
  readonly #kinds: readonly RequestKind[]
  readonly #refuse: typeof wrongValue

  /**
   * @param kinds the kinds of requests that can be measured
   * @param policy until another is set
   * @param refuse makes the error for a wrong value
   */
  constructor(kinds: readonly RequestKind[], policy: ErrorPolicy, refuse: typeof wrongValue) {
    this.#kinds = kinds
    this.#policy = policy
    this.#refuse = refuse
  }

  get policy(): ErrorPolicy {
    return this.#policy
  }

  /** @throws BlockError EINVAL */
  setPolicy(policy: Partial<ErrorPolicy>): void {
    requireErrorPolicy(policy, this.#refuse)
    const { read = 'report', write = 'report' } = policy
    this.#policy = { read, write }
  }

  /** Begins new histograms for the kinds that are given, and ends all others. @throws BlockError EINVAL */
  measure(boundaries: LatencyBoundaries): void {
    this.#requireBoundaries(boundaries)
    this.#histograms.clear()
    for (const kind of this.#kinds) {
      const bins = boundaries[kind]
      if (bins)
        this.#histograms.set(kind, {
          boundaries: [...bins],
          counts: new Array<number>(bins.length + 1).fill(0),
          total: 0,
        })
    }
  }

  histogram(kind: RequestKind): LatencyHistogram | undefined {
    const histogram = this.#histograms.get(kind)
    return histogram && { ...histogram, counts: [...histogram.counts] }
  }

  /** Runs a request as often as the policy wants. */
  async run(kind: RequestKind, request: WatchedRequest): Promise<void> {
    for (;;) {
      const start = performance.now()
      try {
        await request.run()
        this.#took(kind, performance.now() - start)
        return
      } catch (error) {
        const action = actionFor(this.#policy, kind, error)
        if (!request.failed(error, action) || action === 'report') throw error
        if (action === 'ignore') return
        request.stop(error)
      }
      await request.ready()
    }
  }

  #took(kind: RequestKind, milliseconds: number): void {
    const histogram = this.#histograms.get(kind)
    if (!histogram) return
    const bin = histogram.boundaries.findIndex((boundary) => milliseconds < boundary)
    histogram.counts[bin < 0 ? histogram.boundaries.length : bin]!++
    histogram.total += milliseconds
  }

  #requireBoundaries(boundaries: LatencyBoundaries): void {
    const wanted = `lists for ${this.#kinds.join(', ')}`
    if (!isRecord(boundaries)) throw this.#refuse('boundaries', wanted, boundaries)
    for (const [kind, bins] of Object.entries(boundaries)) {
      if (!this.#kinds.includes(kind as RequestKind)) throw this.#refuse('boundaries', wanted, kind)
      const isAscending =
        Array.isArray(bins) &&
        bins.length > 0 &&
        bins.every((bin: unknown, index) => typeof bin === 'number' && bin > (bins[index - 1] ?? 0))
      if (bins !== undefined && !isAscending)
        throw this.#refuse(kind, 'ascending numbers of milliseconds', bins)
    }
  }
}
