/** A node's position in the graph: its name, its children, and its parents. */

import type { AnyDriver, ChildRole, NodeOps, Patience } from '../contract/driver.ts'
import type { BlockChild } from './child.ts'
import type { NodeConfig, NodeInit } from './node-config.ts'
import { DescribedNode } from './node-text.ts'
import { ParentEdges } from './parent-edges.ts'

/** The part of a node that does not change while it is open. */
export abstract class GraphNode extends DescribedNode {
  readonly name: string
  readonly driver: AnyDriver
  readonly filename: string
  readonly children: ReadonlyMap<ChildRole, BlockChild>
  /** @internal The edges that lead to this node. */
  readonly parents = new ParentEdges()

  abstract get config(): NodeConfig
  /** The driver's own object: for drivers that extend another, and for tests. */
  abstract get ops(): NodeOps

  constructor({ name, driver, filename, children }: NodeInit) {
    super()
    this.name = name
    this.driver = driver
    this.filename = filename
    this.children = children
  }

  /** The child that holds the bytes of this node: the node below a filter, or the file of a format. */
  get file(): BlockChild | undefined {
    return this.children.get('file') ?? this.children.get('image')
  }
  get backing(): BlockChild | undefined {
    return this.children.get('backing')
  }

  /** Whether the driver itself implements an operation; fallbacks (writing zero bytes) do not count. */
  can(operation: keyof NodeOps): boolean {
    return this.ops[operation] !== undefined
  }

  /**
   * Sets how long requests in flight may wait for a peer that may never answer, here and in the nodes that
   * are open only for this one. `close` limits it itself; a program that closes several layers should call
   * this before the first.
   */
  setPatience(patience: Patience): void {
    this.ops.setPatience?.(patience)
    for (const { node } of this.children.values())
      if (node.config.ownedByParents && node.parents.size === 1) node.setPatience(patience)
  }
}
