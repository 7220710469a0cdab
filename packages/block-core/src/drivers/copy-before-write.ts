/** The `copy-before-write` filter: keeps what a disk held in another one, while the disk is written. */
import { wrongValue } from '../base/arguments.ts'
import { type Clock, systemClock } from '../base/clock.ts'
import { BlockError } from '../base/errors.ts'
import type { DirtyRange } from '../contract/bitmaps.ts'
import { filtered } from '../contract/child-kinds.ts'
import { defineDriver } from '../contract/driver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { ALL_PERMISSIONS, PERMISSION } from '../contract/permissions.ts'
import { linkedNode } from '../graph/known-nodes.ts'
import { readInteger } from '../text/number-text.ts'
import { type OptionType, oneOf, text } from '../text/options.ts'
import { aroundRequests } from './around-requests.ts'
import { KeptClusters } from './kept-clusters.ts'
import { forwardOps } from './pass-through.ts'

/** The smallest unit of copying, in bytes, as in QEMU; larger where the target's clusters are. */
const LEAST_CLUSTER = 2 ** 16

const MAX_UINT32 = 2 ** 32 - 1

/** Whole seconds, as QEMU reads them here. */
const seconds: OptionType<number> & { readonly default: number } = {
  type: 'num',
  help: 'seconds that a write waits for its copy; 0 waits as long as it takes',
  default: 0,
  parse(value, key) {
    const number = typeof value === 'string' ? Number(readInteger(value) ?? Number.NaN) : value
    if (!Number.isInteger(number)) throw new BlockError('EINVAL', `Parameter '${key}' expects integer`)
    if ((number as number) < 0 || (number as number) > MAX_UINT32)
      throw new BlockError('EINVAL', `Parameter '${key}' expects uint32_t`)
    return number as number
  },
}

const OPTIONS = {
  onCbwError: oneOf(
    ['break-guest-write', 'break-snapshot'],
    'what a failed copy does to the write, or to the snapshot',
    'break-guest-write',
  ),
  cbwTimeout: seconds,
  'bitmap.node': text('the node of a bitmap that says what to keep'),
  'bitmap.name': text('the name of that bitmap'),
}

const { write: WRITE, resize: RESIZE, consistentRead: READ } = PERMISSION

/** The node of that name at or below another one. */
function findBelow(node: BlockNode, name: string): BlockNode | undefined {
  if (node.name === name) return node
  for (const edge of node.children.values()) {
    const found = findBelow(edge.node, name)
    if (found) return found
  }
  return undefined
}

/** What a bitmap of a node at or below `disk` has recorded. @throws BlockError EINVAL, ENOENT in QEMU's words */
async function rangesOf(disk: BlockNode, nodeName: string, name: string): Promise<readonly DirtyRange[]> {
  const found = findBelow(disk, nodeName)
  if (!found) throw new BlockError('EINVAL', `Node '${nodeName}' not found`)
  const node = linkedNode(found)
  return node.counted(0, 0, async () => {
    const ops = await node.ops.bitmaps?.()
    const known = (await ops?.list())?.some((bitmap) => bitmap.name === name)
    if (!ops || !known) throw new BlockError('ENOENT', `Dirty bitmap '${name}' not found`)
    return [...(await ops.read(name)).ranges()]
  })
}

const missing = (name: string): never => {
  throw new BlockError('EINVAL', `Parameter '${name}' is missing`)
}

/** Makes the driver with a clock for `cbw-timeout`, in milliseconds. @throws BlockError EINVAL */
export function createCopyBeforeWrite(clock: Clock = systemClock) {
  if (typeof clock?.after !== 'function') throw wrongValue('clock', 'a clock: { now, after }', clock)
  return defineDriver({
    name: 'copy-before-write',
    kind: 'filter',
    options: OPTIONS,
    children: {
      file: {
        ...filtered,
        // What nothing uses yet is not kept from others.
        permissions: ({ taken, shared }) =>
          taken === 0 && shared === ALL_PERMISSIONS
            ? { taken, shared }
            : { taken: taken | (taken & WRITE ? READ : 0), shared: shared & ~(WRITE | RESIZE) },
      },
      target: {
        // Shared, for the disk may be a backing file of its target.
        permissions: () => ({ taken: WRITE, shared: ALL_PERMISSIONS & ~RESIZE }),
        opens: 'probed',
      },
    },
    nameFromOptions: (_options, child) => child || undefined,

    async open({ child, options, nodeName }): Promise<NodeOps> {
      const disk = (await child('file')) ?? missing('file')
      const target = (await child('target')) ?? missing('target')
      if (target.readOnly) throw new BlockError('EPERM', 'Block node is read-only', { node: nodeName })
      const { onCbwError, cbwTimeout, 'bitmap.node': node, 'bitmap.name': name } = options
      const hasBitmap = node !== undefined || name !== undefined
      const wanted = hasBitmap
        ? await rangesOf(disk.node, node ?? missing('bitmap.node'), name ?? missing('bitmap.name'))
        : undefined
      const { clusterSize = 0 } = await target.node.info()
      const kept = new KeptClusters(
        disk,
        target,
        {
          clusterSize: Math.max(clusterSize, LEAST_CLUSTER),
          wanted,
          timeout: cbwTimeout * 1000,
          breaksSnapshot: onCbwError === 'break-snapshot',
        },
        clock,
      )
      const below = forwardOps(disk, {
        writeCompressed: undefined,
        snapshotAccess: kept,
        close: () => kept.drain(),
      })
      return aroundRequests(below, async (request, run) => {
        if (request.kind === 'write' || request.kind === 'writeZeroes' || request.kind === 'discard')
          await kept.save(request.offset, request.bytes)
        else if (request.kind === 'truncate' && request.size < disk.size)
          await kept.save(request.size, disk.size - request.size)
        return run()
      })
    },
  })
}

/** `copy-before-write`, QEMU's filter for backups and for reading a disk as it was: see {@link snapshotAccess}. */
export const copyBeforeWrite = createCopyBeforeWrite()
