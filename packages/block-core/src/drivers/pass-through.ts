/** The base of every filter: a node that shows exactly what its child shows. */

import { defineDriver } from '../contract/driver.ts'
import type { BlockChild, BlockStatus } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import type { WriteFlag } from '../contract/requests.ts'

/** What a filter does otherwise than its child; `undefined` takes an ability away. */
export type OpsChanges = { readonly [Name in keyof NodeOps]?: NodeOps[Name] | undefined }

/** Flags that a filter passes on. The child's node drops or emulates unsupported ones, but for FUA. */
const WRITE_FLAGS: ReadonlySet<WriteFlag> = new Set()
const WRITE_FLAGS_FUA: ReadonlySet<WriteFlag> = new Set(['fua'])
const ZERO_FLAGS: ReadonlySet<WriteFlag> = new Set(['mayUnmap', 'noFallback'])
const ZERO_FLAGS_FUA: ReadonlySet<WriteFlag> = new Set(['mayUnmap', 'noFallback', 'fua'])

/**
 * Forwards every request to `child`, but for `changes`: `forwardOps(child, { read: ... })`.
 *
 * A method is present while the child's driver has it; that may change, because another node can take the child's
 * place. So the result is not to be spread, which would keep what is present now. FUA is passed on if the child's
 * driver supports it; if not, the filter's own node flushes through the filter, so that a filter sees each flush
 * that the disk sees. Operations on an image's structure (check, amend, makeEmpty, changeBackingFile) are left out:
 * they belong to the node that has the structure, as in QEMU.
 */
export function forwardOps(child: BlockChild, changes: OpsChanges = {}): NodeOps {
  const forward: NodeOps = {
    size: () => child.size,
    read: (offset, into) => child.read(offset, into),
    write: (offset, from, flags) => child.write(offset, from, flags),
    writeCompressed: (offset, from) => child.writeCompressed(offset, from),
    writeZeroes: (offset, bytes, flags) => child.writeZeroes(offset, bytes, flags),
    discard: (offset, bytes) => child.discard(offset, bytes),
    truncate: (bytes, options) => child.truncate(bytes, options),
    blockStatus: async (offset, bytes) => statusBelow(child, offset, bytes),
    readVmState: (offset, into) => child.node.readVmState(offset, into),
    writeVmState: (offset, from) => child.node.writeVmState(offset, from),
    debugEvent: (event) => child.debugEvent(event),
  }
  const below = {
    get limits() {
      return child.limits
    },
    get growable() {
      return child.node.growable
    },
    get writeFlags() {
      return child.node.ops.writeFlags?.has('fua') ? WRITE_FLAGS_FUA : WRITE_FLAGS
    },
    get zeroFlags() {
      return child.node.ops.zeroFlags?.has('fua') ? ZERO_FLAGS_FUA : ZERO_FLAGS
    },
    size: forward.size,
    read: forward.read,
    // Always present: a child that has nothing to flush answers at once.
    flush: () => child.flush(),
    info: () => child.node.info(),
    listSnapshots: () => child.node.listSnapshots(),
    get write() {
      return child.node.ops.write && forward.write
    },
    get writeCompressed() {
      return child.node.ops.writeCompressed && forward.writeCompressed
    },
    get writeZeroes() {
      return child.node.ops.writeZeroes && forward.writeZeroes
    },
    get discard() {
      return child.node.ops.discard && forward.discard
    },
    get truncate() {
      return child.node.ops.truncate && forward.truncate
    },
    get blockStatus() {
      return child.node.ops.blockStatus && forward.blockStatus
    },
    get readVmState() {
      return child.node.ops.readVmState && forward.readVmState
    },
    get writeVmState() {
      return child.node.ops.writeVmState && forward.writeVmState
    },
    get debugEvent() {
      return child.node.ops.debugEvent && forward.debugEvent
    },
    get breakpoints() {
      return child.node.ops.breakpoints
    },
  } satisfies OpsChanges
  return withChanges(below as NodeOps, changes)
}

/** `ops` with `changes`: getters stay getters, so that both keep following what they ask. */
export const withChanges = (ops: NodeOps, changes: OpsChanges): NodeOps =>
  Object.defineProperties(
    {},
    { ...Object.getOwnPropertyDescriptors(ops), ...Object.getOwnPropertyDescriptors(changes) },
  ) as NodeOps

/** The status of a range that shows what the child shows there: the core asks the child. */
export const statusBelow = (child: BlockChild, offset: number, bytes: number): BlockStatus => ({
  bytes,
  allocated: true,
  data: true,
  zero: false,
  host: { child, offset },
  forward: true,
})

/** A filter that changes nothing: for tests, and as a point in the graph to insert another filter. */
export const passThrough = defineDriver({
  name: 'pass-through',
  kind: 'filter',
  open: async (context) => forwardOps(await context.requireChild('file')),
})
