/** A node's place in the graph: its name, its children, its parents, and how it presents itself. */
import { EventEmitter } from 'eventemitter3'
import type { AnyDriver } from '../contract/driver.ts'
import type { ChildRole } from '../contract/driver-facts.ts'
import type { BlockNode } from '../contract/node.ts'
import type { NodeConfig } from '../contract/node-config.ts'
import type { NodeEvents } from '../contract/node-events.ts'
import type { NodeOps, Patience } from '../contract/node-ops.ts'
import type { NodeFacts } from '../contract/reports.ts'
import type { Edge, NodeUser, Parents } from './links.ts'
import { INSPECT, nodeFacts, nodeText, nodeTitle } from './node-text.ts'
import { ParentEdges } from './parent-edges.ts'

/** The parts of a node, as `openNode` puts them together. */
export interface NodeInit {
  readonly name: string
  readonly driver: AnyDriver
  readonly filename: string
  readonly config: NodeConfig
  readonly ops: NodeOps
  readonly children: ReadonlyMap<ChildRole, Edge>
}

/** The part of a node that does not change while it is open. */
export abstract class PlacedNode extends EventEmitter<NodeEvents> {
  readonly name: string
  readonly driver: AnyDriver
  readonly filename: string
  readonly children: ReadonlyMap<ChildRole, Edge>
  readonly parents: Parents = new ParentEdges()
  readonly users = new Set<NodeUser>()

  abstract get config(): NodeConfig
  abstract get ops(): NodeOps
  protected abstract get state(): string

  constructor({ name, driver, filename, children }: NodeInit) {
    super()
    this.name = name
    this.driver = driver
    this.filename = filename
    this.children = children
  }

  get file(): Edge | undefined {
    return this.children.get('file') ?? this.children.get('image')
  }
  get backing(): Edge | undefined {
    return this.children.get('backing')
  }
  get hasParents(): boolean {
    return this.parents.size > 0
  }

  can(operation: keyof NodeOps): boolean {
    return this.ops[operation] !== undefined
  }

  override toString(): string {
    return nodeTitle(this as unknown as BlockNode)
  }
  toJSON(): NodeFacts {
    return nodeFacts(this as unknown as BlockNode, this.state)
  }
  [INSPECT](): string {
    return nodeText(this as unknown as BlockNode, this.state)
  }

  setPatience(patience: Patience): void {
    this.ops.setPatience?.(patience)
    for (const { node } of this.children.values())
      if (node.config.ownedByParents && node.parents.size === 1) node.setPatience(patience)
  }
}
