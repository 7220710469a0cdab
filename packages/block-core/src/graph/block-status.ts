/** Block status across nodes: through filters, into the file below, and down a backing chain. */
import { alignDown, alignUp } from '../base/bits.ts'
import type { BlockChild, BlockNode, BlockStatus } from '../contract/node.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import type { BlockLimits } from '../contract/requests.ts'
import { hasBackingFiles } from './child-options.ts'
import { linkedNode } from './known-nodes.ts'
import { requireNode, requireRange } from './node-arguments.ts'

/** Narrows a driver's answer for an aligned range to the requested part. Lengths in bytes. */
export function clipStatus(status: BlockStatus, start: number, offset: number, bytes: number): BlockStatus {
  const skipped = offset - start
  const rest = Math.min(status.bytes - skipped, bytes)
  if (skipped === 0 && rest === status.bytes) return status
  const clipped = { ...status, bytes: Math.max(rest, 0) }
  return status.host
    ? { ...clipped, host: { ...status.host, offset: status.host.offset + skipped } }
    : clipped
}

/**
 * The status of the longest run at the start of `bytes` bytes, joined from a driver's answers for shorter
 * runs: runs join if they have the same state and, if they have host offsets, are contiguous there.
 */
export async function joinedStatus(
  bytes: number,
  statusAt: (done: number, left: number) => Promise<BlockStatus>,
): Promise<BlockStatus> {
  let status = await statusAt(0, bytes)
  while (status.bytes < bytes) {
    const next = await statusAt(status.bytes, bytes - status.bytes)
    if (!joins(status, next)) break
    status = { ...status, bytes: status.bytes + next.bytes }
  }
  return status
}

function joins(a: BlockStatus, b: BlockStatus): boolean {
  if (a.allocated !== b.allocated || a.data !== b.data || a.zero !== b.zero || a.compressed !== b.compressed)
    return false
  if (!a.host || !b.host) return a.host === b.host
  return b.host.offset === a.host.offset + a.bytes
}

/** The status of a run at `offset`, from the driver and the nodes below; `size`: where its answers end. */
export async function askStatus(
  ops: NodeOps,
  { requestAlignment }: BlockLimits,
  size: number,
  offset: number,
  bytes: number,
): Promise<BlockStatus> {
  if (!ops.blockStatus) return { bytes, allocated: true, data: true, zero: false }
  const start = alignDown(offset, requestAlignment)
  const end = Math.min(alignUp(offset + bytes, requestAlignment), size)
  const status = await ops.blockStatus(start, end - start)
  return resolveStatus(clipStatus(status, start, offset, bytes))
}

/** Resolves what a driver leaves to its child: filters forward all, formats may have holes in their data. */
export async function resolveStatus(status: BlockStatus): Promise<BlockStatus> {
  const { host } = status
  if (!host || status.bytes === 0) return status
  if (status.forward) {
    const below = await statusOf(host, status.bytes)
    if (below.bytes === 0) return { bytes: status.bytes, allocated: true, data: false, zero: true, host }
    // A protocol holds the bytes itself, but cannot name the edge through which it was reached.
    const holdsBytes = below.allocated && host.child.node.driver.kind === 'protocol'
    return below.host || !holdsBytes ? below : { ...below, host }
  }
  if (status.recurse && status.data && !status.zero) {
    const below = await statusOf(host, status.bytes)
    // Beyond the end of the file, and in its holes, everything reads as zeroes.
    if (below.bytes === 0) return { ...status, zero: true }
    if (below.zero) return { ...status, bytes: below.bytes, zero: true }
    return { ...status, bytes: Math.min(status.bytes, below.bytes) }
  }
  return status
}

/** Asks through the edge, which a driver named: after a crash of the parent it refuses. */
const statusOf = ({ child, offset }: NonNullable<BlockStatus['host']>, bytes: number): Promise<BlockStatus> =>
  (child as BlockChild).blockStatus(offset, bytes)

/** A status, and how far down the chain it was found. */
export interface ChainStatus extends BlockStatus {
  /** 0: the top node, 1: its backing file, ... */
  readonly depth: number
}

/** The next node of a backing chain, skipping the filters on `node`; undefined at the end. */
export function backingOf(node: BlockNode): BlockNode | undefined {
  const layer = skipFilters(node)
  return layer.backing?.node
}

/** Whether nodes of this driver can have a backing file. Without one, unallocated ranges read as zeroes. */
export const canHaveBacking = ({ driver }: BlockNode): boolean => hasBackingFiles(driver)

/** The node itself, or what the filters on top of it filter. */
export function skipFilters(node: BlockNode): BlockNode {
  let layer = linkedNode(node)
  while (layer.file?.kind.isFiltered) layer = layer.file.node
  return layer
}

/**
 * The status of a range as a reader of `top` sees it: that of the first layer that holds it, down to but not
 * including `base`. A range that no layer holds has `allocated: false` and reads as zeroes, unless the last
 * layer has undefined content; above a `base`, it reads as zeroes only beyond the end of `base`. Offsets and lengths are
 * bytes; the answer may be for fewer than were asked for.
 *
 * @throws BlockError EINVAL; what reading the tables of a layer throws
 */
export async function chainStatus(
  top: BlockNode,
  offset: number,
  bytes: number,
  base?: BlockNode,
): Promise<ChainStatus> {
  requireChain(top, base, offset, bytes)
  const end = base && linkedNode(base)
  let length = Math.min(bytes, top.size - offset)
  let depth = 0
  let node: BlockNode | undefined = skipFilters(top)
  let last: BlockStatus = { bytes: length, allocated: false, data: false, zero: true }
  let endsInZeroes = true
  for (; node && node !== end; node = backingOf(node), depth++) {
    if (offset >= node.size) {
      // Beyond its end, a shorter backing file counts as allocated zeroes.
      if (depth > 0) return { bytes: length, allocated: true, data: false, zero: true, depth }
      break
    }
    const status = await node.blockStatus(offset, length)
    if (status.allocated || status.bytes === 0) return { ...status, depth }
    length = Math.min(length, status.bytes)
    // A backing file that ends within the run splits it: beyond that end its overlay reads zeroes.
    last = { ...status, bytes: length }
    endsInZeroes = canHaveBacking(node)
  }
  if (node && node === end && offset < node.size) length = Math.min(length, node.size - offset)
  else if (node && node === end) last = { ...last, zero: true }
  return {
    ...last,
    bytes: length,
    zero: (node === undefined && endsInZeroes) || last.zero,
    depth: Math.max(depth - 1, 0),
  }
}

/** @throws BlockError EINVAL */
function requireChain(top: BlockNode, base: BlockNode | undefined, offset: number, bytes: number): void {
  requireNode(top, 'top')
  if (base !== undefined) requireNode(base, 'base')
  requireRange(top, offset, bytes)
}
