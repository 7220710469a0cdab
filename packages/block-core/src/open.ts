/** From options to an open graph of nodes. */
import type { OpenHost } from './host.ts'
import type { BlockNode } from './node.ts'
import type { RawOptions } from './options.ts'
import type { DriverRegistry } from './registry.ts'

/** What opening depends on. */
export interface OpenEnvironment {
  readonly registry: DriverRegistry
  readonly host: OpenHost
}

/** Options of a node: the common ones, the driver's own, and children as nested trees, node names or open nodes. */
export type NodeOptions = RawOptions

export declare function openNode(environment: OpenEnvironment, options: NodeOptions | string): Promise<BlockNode>
