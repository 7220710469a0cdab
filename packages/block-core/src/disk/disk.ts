/** What applications see of an open disk: the handle that `openNode` returns, without what the core does with it. */
import type { BlockNode } from '../contract/node.ts'
import { isBlockNode, linkedNode } from '../graph/known-nodes.ts'
import type { ErrorPolicy } from './error-policy.ts'
import type { LatencyBoundaries } from './request-watch.ts'
import type { DiskStatistics } from './statistics.ts'

/**
 * An open disk, as {@link openNode} returns it: QEMU's BlockBackend. It stays the same object when nodes are inserted,
 * removed or replaced below it. Usable wherever a {@link BlockNode} is; then its root is meant.
 */
export interface Disk extends BlockNode {
  /** The node of the graph that requests go to. */
  readonly root: BlockNode
  /**
   * Whether writes are complete before they are durable; off: each is durable when it completes. It concerns this handle
   * alone, and writes that begin from now on.
   */
  writeCache: boolean
  /** What was counted since the handle was opened. */
  readonly statistics: DiskStatistics
  /** What happens to requests that fail. */
  readonly errorPolicy: ErrorPolicy
  /** Whether an error policy has stopped the handle. */
  readonly isStopped: boolean
  /**
   * Measures from now on how long requests take: histograms with these boundaries, in milliseconds, for the kinds that
   * are given. An empty object ends all.
   *
   * @throws BlockError EINVAL; EIO if the code cannot be loaded
   */
  measureLatency(boundaries: LatencyBoundaries): Promise<void>
  /**
   * What happens to requests that fail from now on: `report` for a direction that is not given. An action of `stop`
   * emits `stop`, and holds all requests back until {@link resume}.
   *
   * @throws BlockError EINVAL; EIO if the code cannot be loaded
   */
  setErrorPolicy(policy: Partial<ErrorPolicy>): Promise<void>
  /** Tries the requests again that an error policy has stopped. */
  resume(): void
  /** Closes the root, unless other handles use it: then it stays open for them. What {@link BlockNode.close} says. */
  close(): Promise<void>
}

/** For `instanceof`, which holds for handles of every copy of this library. */
export const Disk = {
  [Symbol.hasInstance]: (value: unknown): value is Disk => isBlockNode(value) && linkedNode(value) !== value,
}
