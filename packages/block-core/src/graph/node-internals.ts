/** What drivers and programs reach of a node, and applications do not see on it. */
import type { BlockNode } from '../contract/node.ts'
import type { Breakpoints, NodeOps, Patience } from '../contract/node-ops.ts'
import type { RawOptions } from '../text/options.ts'
import { linkedNode } from './known-nodes.ts'
import { requireNode } from './node-arguments.ts'

/**
 * What the driver of a node made of it: for drivers that extend another, and for tests. Requests through it are not
 * checked, not counted, and do not end when the node crashes: only the driver's own node makes them safe.
 *
 * @throws BlockError EINVAL for something that is no node
 */
export function opsOf(node: BlockNode): NodeOps {
  requireNode(node, 'node')
  return linkedNode(node).ops
}

/**
 * The options that a node was opened with, as they were given: its own, without children and defaults.
 *
 * @throws BlockError EINVAL for something that is no node
 */
export function givenOptionsOf(node: BlockNode): RawOptions {
  requireNode(node, 'node')
  return linkedNode(node).config.explicit
}

/**
 * The breakpoints of a node: those of the nearest filter that has them (blkdebug), the node itself among them.
 *
 * @returns undefined if there is none
 * @throws BlockError EINVAL for something that is no node
 */
export function breakpointsOf(node: BlockNode): Breakpoints | undefined {
  for (let below: BlockNode | undefined = node; below; below = below.file?.node) {
    const { breakpoints } = opsOf(below)
    if (breakpoints) return breakpoints
  }
  return undefined
}

/**
 * Sets how long requests in flight may wait for a peer that may never answer, in a node and in those that are open only
 * for it. `close` limits it itself; a program that closes several layers calls this before the first.
 *
 * @throws BlockError EINVAL for something that is no node
 */
export function setPatience(node: BlockNode, patience: Patience): void {
  requireNode(node, 'node')
  linkedNode(node).setPatience(patience)
}
