/** Counts requests at a point of the graph: guest requests of each layer, and requests to the files. */
import type { BlockDriver } from '@vmblock/block-core'
import { defineDriver, forwardOps, type NodeOps } from '@vmblock/block-core/driver'

/** Counts of requests. */
export interface Tally {
  reads: number
  readBytes: number
  writes: number
  writtenBytes: number
  flushes: number
}

/** A tally of zeroes. */
export const emptyTally = (): Tally => ({ reads: 0, readBytes: 0, writes: 0, writtenBytes: 0, flushes: 0 })

/** The requests since `before`. */
export const since = (before: Tally, now: Tally): Tally => ({
  reads: now.reads - before.reads,
  readBytes: now.readBytes - before.readBytes,
  writes: now.writes - before.writes,
  writtenBytes: now.writtenBytes - before.writtenBytes,
  flushes: now.flushes - before.flushes,
})

/** A filter of this name, all of whose nodes count into one tally. */
export const countingFilter = (name: string, tally: Tally): BlockDriver =>
  defineDriver({
    name,
    kind: 'filter',
    async open(context): Promise<NodeOps> {
      const child = await context.requireChild('file')
      const below = forwardOps(child)
      return {
        ...below,
        read(offset, into) {
          tally.reads++
          tally.readBytes += into.length
          return child.read(offset, into)
        },
        flush() {
          tally.flushes++
          return child.flush()
        },
        ...(below.write && {
          write(offset, from, flags) {
            tally.writes++
            tally.writtenBytes += from.length
            return child.write(offset, from, flags)
          },
        }),
      }
    },
  })
