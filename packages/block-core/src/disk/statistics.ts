/** What a handle counts of its requests. */

/** The kinds of requests that are counted apart. Zero writes, compressed writes and copies count as writes. */
export const REQUEST_KINDS = ['read', 'write', 'discard', 'flush'] as const

/** What a handle counts separately. */
export type RequestKind = (typeof REQUEST_KINDS)[number]

/** A histogram of latencies: QEMU's `block-latency-histogram-set`. */
export interface LatencyHistogram {
  /** Where one bin ends and the next begins, in milliseconds, ascending. */
  readonly boundaries: readonly number[]
  /** Requests per bin: one bin more than there are boundaries. */
  readonly counts: readonly number[]
  /** All requests together, in milliseconds. */
  readonly total: number
}

/** What is counted for one kind of requests, since the handle was opened. */
export interface RequestCounts {
  /** Requests that were issued, including those that failed. */
  readonly requests: number
  /** Bytes of those requests; for flushes 0. */
  readonly bytes: number
  /** Requests that failed in the node; one that an error policy retries counts each time. */
  readonly failed: number
  /** Only while latencies are measured. */
  readonly latency?: LatencyHistogram
}

/** The counts of a handle. */
export type DiskStatistics = Readonly<Record<RequestKind, RequestCounts>>

/** Counters of one kind: plain numbers, since every request changes them. */
export interface Counter {
  requests: number
  bytes: number
  failed: number
}

const counter = (): Counter => ({ requests: 0, bytes: 0, failed: 0 })

/** Counters of all kinds. */
export const counters = (): Record<RequestKind, Counter> => ({
  read: counter(),
  write: counter(),
  discard: counter(),
  flush: counter(),
})
