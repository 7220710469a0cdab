/** The base of every filter: a node that shows exactly what its child shows. */

import { defineDriver } from '../contract/driver.ts'
import type { BlockChild } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import type { WriteFlag } from '../contract/requests.ts'

/** Flags of zero writes that a filter passes on. The child's node drops or emulates unsupported ones. */
const PASSED_ON = ['mayUnmap', 'noFallback'] as const

/**
 * Forwards every request to `child`. A filter spreads the result and replaces what it changes:
 * `{ ...passThrough(child), read: ... }`.
 *
 * A method is present if the child's driver has it. FUA is passed on if the child's driver supports it; if
 * not, the filter's own node flushes through the filter, so that a filter sees each flush that the disk sees.
 * Operations on an image's structure (check, amend, makeEmpty, changeBackingFile) are left out: they belong
 * to the node that has the structure, as in QEMU.
 */
export function passThrough(child: BlockChild): NodeOps {
  const below = child.node.ops
  return {
    limits: child.limits,
    writeFlags: new Set(fuaOf(below.writeFlags)),
    zeroFlags: new Set<WriteFlag>([...PASSED_ON, ...fuaOf(below.zeroFlags)]),
    growable: child.node.growable,
    size: () => child.size,
    read: (offset, into) => child.read(offset, into),
    // Always present: a child that has nothing to flush answers at once.
    flush: () => child.flush(),
    info: () => child.node.info(),
    listSnapshots: () => child.node.listSnapshots(),
    ...(below.write && { write: (offset, from, flags) => child.write(offset, from, flags) }),
    ...(below.writeCompressed && { writeCompressed: (offset, from) => child.writeCompressed(offset, from) }),
    ...(below.writeZeroes && {
      writeZeroes: (offset, bytes, flags) => child.writeZeroes(offset, bytes, flags),
    }),
    ...(below.discard && { discard: (offset, bytes) => child.discard(offset, bytes) }),
    ...(below.truncate && { truncate: (bytes, options) => child.truncate(bytes, options) }),
    ...(below.blockStatus && {
      blockStatus: (offset, bytes) =>
        Promise.resolve({
          bytes,
          allocated: true,
          data: true,
          zero: false,
          host: { child, offset },
          forward: true,
        }),
    }),
    ...(below.readVmState && { readVmState: (offset, into) => child.node.readVmState(offset, into) }),
    ...(below.writeVmState && { writeVmState: (offset, from) => child.node.writeVmState(offset, from) }),
    ...(below.debugEvent && { debugEvent: (event) => child.debugEvent(event) }),
    ...(below.breakpoints && { breakpoints: below.breakpoints }),
  } satisfies NodeOps
}

const fuaOf = (flags: ReadonlySet<WriteFlag> | undefined): WriteFlag[] => (flags?.has('fua') ? ['fua'] : [])

/** A filter that changes nothing: for tests, and as a point in the graph to insert another filter. */
export const passThroughFilter = defineDriver({
  name: 'pass-through',
  kind: 'filter',
  open: async (context) => passThrough(await context.requireChild('file')),
})
