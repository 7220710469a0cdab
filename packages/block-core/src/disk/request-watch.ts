/** Error policies and latencies of a handle: loaded when the first is set, since most handles have neither. */
import { isPlain, wrongValue } from '../base/arguments.ts'
import { actionFor, requireErrorPolicy } from './error-actions.ts'
import { type ErrorPolicy, REPORT_ALL, type TakenAction } from './error-policy.ts'
import { type LatencyHistogram, REQUEST_KINDS, type RequestKind } from './statistics.ts'

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
  #policy = REPORT_ALL
  readonly #histograms = new Map<RequestKind, Histogram>()
  readonly #now: () => number

  /** @param now a clock in milliseconds */
  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  get policy(): ErrorPolicy {
    return this.#policy
  }

  /** @throws BlockError EINVAL */
  setPolicy(policy: Partial<ErrorPolicy>): void {
    requireErrorPolicy(policy)
    this.#policy = { ...REPORT_ALL, ...policy }
  }

  /** Begins new histograms for the kinds that are given, and ends all others. @throws BlockError EINVAL */
  measure(boundaries: LatencyBoundaries): void {
    requireBoundaries(boundaries)
    this.#histograms.clear()
    for (const kind of REQUEST_KINDS) {
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
      const start = this.#now()
      try {
        await request.run()
        this.#took(kind, this.#now() - start)
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
}

function requireBoundaries(boundaries: LatencyBoundaries): void {
  if (!isPlain(boundaries)) throw wrongValue('boundaries', 'a plain object', boundaries)
  for (const [kind, bins] of Object.entries(boundaries)) {
    if (!REQUEST_KINDS.includes(kind as RequestKind))
      throw wrongValue('boundaries', `lists for ${REQUEST_KINDS.join(', ')}`, kind)
    const isAscending =
      Array.isArray(bins) &&
      bins.length > 0 &&
      bins.every((bin: unknown, index) => typeof bin === 'number' && bin > (bins[index - 1] ?? 0))
    if (bins !== undefined && !isAscending) throw wrongValue(kind, 'ascending numbers of milliseconds', bins)
  }
}
