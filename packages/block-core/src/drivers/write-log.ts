/**
 * The `write-log` filter: records everything that changes the disk below it, with the times at which each
 * request was submitted and completed. Tests count requests with it, and build from it every disk that a
 * power cut could have left.
 */

import { BlockError } from '../base/errors.ts'
import { shared } from '../base/shared-state.ts'
import { defineDriver } from '../contract/driver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { opsOf } from '../graph/node-internals.ts'
import { nodeTitle } from '../graph/node-text.ts'
import { bool, type OptionType, text } from '../text/options.ts'
import { aroundRequests, type FilteredRequest } from './around-requests.ts'
import { forwardOps } from './pass-through.ts'

/** One recorded request. Offsets and lengths in bytes. */
export type LoggedRequest =
  | {
      readonly kind: 'write'
      readonly offset: number
      readonly bytes: number
      /** A copy of the written data, unless the log records sizes only. */
      readonly data: Uint8Array | undefined
      readonly fua: boolean
    }
  | {
      readonly kind: 'write-zeroes'
      readonly offset: number
      readonly bytes: number
      readonly fua: boolean
      readonly mayUnmap: boolean
    }
  | { readonly kind: 'discard'; readonly offset: number; readonly bytes: number }
  /** `size` is the new size of the disk, `bytes` always 0. */
  | { readonly kind: 'truncate'; readonly offset: number; readonly bytes: number; readonly size: number }
  /** Offset and bytes are 0. */
  | { readonly kind: 'flush'; readonly offset: number; readonly bytes: number }

/**
 * One request and its two times, in ticks of one clock that advances with each submission and completion. A
 * write is certainly on stable storage once a flush of its disk succeeded that was submitted after the write
 * had completed: `write.completed < flush.submitted`. A write whose `completed` is undefined may be on the
 * disk in full, in part, or not at all.
 */
export type LogEntry = LoggedRequest & {
  /** The disk that the request went to: the option `disk` of the node; empty if not given. */
  readonly disk: string
  /** When the request was submitted. Entries are in this order. */
  readonly submitted: number
  /** When it completed successfully; undefined while it is in flight, and forever if it failed. */
  readonly completed: number | undefined
  /** Whether it ended with an error. */
  readonly failed: boolean
}

/** Counts of the requests that have completed, and the bytes of those that write data. */
export interface LogCounts {
  /** Writes of data; zero writes and discards are counted separately. */
  readonly writes: number
  /** Bytes of data in these writes. */
  readonly bytes: number
  readonly zeroWrites: number
  readonly discards: number
  readonly truncates: number
  readonly flushes: number
}

type Open<T> = { -readonly [K in keyof T]: T[K] }

/** The record of one or several `write-log` nodes. */
export class WriteLog {
  /** In the order in which the requests were submitted. */
  readonly entries: readonly LogEntry[]
  /** Whether data is kept, or only its size. */
  readonly recordData: boolean
  #entries: LogEntry[] = []
  #now = 0

  constructor({ recordData = true }: { readonly recordData?: boolean } = {}) {
    this.recordData = recordData
    this.entries = this.#entries
  }

  /** The next tick: all later submissions and completions have this tick or a later one. */
  get now(): number {
    return this.#now
  }

  /** The entries that succeeded, in the order of their completion. */
  completed(): LogEntry[] {
    return this.#entries
      .filter((entry) => entry.completed !== undefined)
      .sort((a, b) => a.completed! - b.completed!)
  }

  /** Counts the completed requests for which `predicate` holds; default: all. */
  count(predicate: (entry: LogEntry) => boolean = () => true): LogCounts {
    const of = { write: 0, 'write-zeroes': 0, discard: 0, truncate: 0, flush: 0 }
    let bytes = 0
    for (const entry of this.#entries) {
      if (entry.completed === undefined || !predicate(entry)) continue
      of[entry.kind]++
      if (entry.kind === 'write') bytes += entry.bytes
    }
    return {
      writes: of.write,
      bytes,
      zeroWrites: of['write-zeroes'],
      discards: of.discard,
      truncates: of.truncate,
      flushes: of.flush,
    }
  }

  /** Forgets everything, including requests in flight; the clock continues. */
  clear(): void {
    this.#entries.length = 0
  }

  /**
   * Takes a tick for an event other than a request, which orders it relative to all requests.
   *
   * @returns the tick
   */
  tick(): number {
    return this.#now++
  }

  /** Runs a request to one of the disks and records its times. @throws what `run` throws */
  async record<T>(request: LoggedRequest, run: () => Promise<T>, disk = ''): Promise<T> {
    const submitted = this.#now++
    const entry: Open<LogEntry> = { ...request, disk, submitted, completed: undefined, failed: false }
    this.#entries.push(entry)
    try {
      const result = await run()
      entry.completed = this.#now++
      return result
    } catch (error) {
      entry.failed = true
      throw error
    }
  }
}

/** A {@link WriteLog} object; it has no text form. */
const logOption: OptionType<WriteLog> = {
  type: 'object',
  help: 'a WriteLog to record in (from TypeScript only)',
  parse(value, key) {
    const { record, entries } = (value ?? {}) as Partial<WriteLog>
    if (typeof record === 'function' && Array.isArray(entries)) return value as WriteLog
    throw new BlockError('EINVAL', `Parameter '${key}' expects a WriteLog`)
  },
}

const logs = shared('logs', () => new WeakMap<NodeOps, WriteLog>())

/** The log of a `write-log` node. @throws BlockError EINVAL for a node of another driver */
export function writeLogOf(node: BlockNode): WriteLog {
  const log = logs.get(opsOf(node))
  if (!log) throw new BlockError('EINVAL', `${nodeTitle(node)} is no write-log`, { node: node.name })
  return log
}

/**
 * Shows its child, and records requests that change it. Without `log` it makes a log of its own: see
 * {@link writeLogOf}. Nodes that share a log share its clock; `disk` distinguishes their entries.
 */
export const writeLog = defineDriver({
  name: 'write-log',
  kind: 'filter',
  options: {
    log: logOption,
    recordData: bool('keep a copy of what is written, not only its size', true),
    disk: text('name of the disk in the entries of the log'),
  },

  async open(context) {
    const child = await context.requireChild('file')
    const { recordData, disk } = context.options
    const log = context.options.log ?? new WriteLog({ recordData })
    const keeps = log.recordData && recordData
    // Their effect on the disk depends on the format below, so they could not be recorded.
    const below = forwardOps(child, { writeCompressed: undefined, writeVmState: undefined })
    const ops = aroundRequests(below, (request, run) => {
      const logged = loggedRequest(request, keeps)
      return logged ? log.record(logged, run, disk) : run()
    })
    logs.set(ops, log)
    return ops
  },
})

/** @returns undefined for a request that changes nothing, and makes nothing durable */
function loggedRequest(request: FilteredRequest, keeps: boolean): LoggedRequest | undefined {
  const { kind, offset, bytes } = request
  switch (kind) {
    case 'write': {
      // Copied now: the caller may reuse the buffer once the write has completed.
      const data = keeps ? new Uint8Array(request.data) : undefined
      return { kind, offset, bytes, data, fua: request.flags.fua === true }
    }
    case 'writeZeroes': {
      const { fua = false, mayUnmap = false } = request.flags
      return { kind: 'write-zeroes', offset, bytes, fua, mayUnmap }
    }
    case 'truncate':
      return { kind, offset, bytes, size: request.size }
    case 'discard':
    case 'flush':
      return { kind, offset, bytes }
    default:
      return undefined
  }
}
