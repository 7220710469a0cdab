/** What a node is besides its requests: its name, children and parents, and how it presents itself. */
import { Emitter } from '../base/emitter.ts'
import type { AnyDriver } from '../contract/driver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { CoreConfig } from '../contract/node-config.ts'
import type { NodeEvents } from '../contract/node-events.ts'
import type { NodeOps, Patience } from '../contract/node-ops.ts'
import type { NodeFacts } from '../contract/reports.ts'
import type { Edge, NodeOrigin, NodeUser } from './links.ts'
import { INSPECT, nodeFacts, nodeText, nodeTitle } from './node-text.ts'
import { UNUSED, Uses } from './uses.ts'

/** The parts of a node, as `openNode` puts them together. */
export interface NodeInit {
  readonly name: string
  readonly driver: AnyDriver
  readonly filename: string
  readonly config: CoreConfig
  readonly ops: NodeOps
  readonly children: ReadonlyMap<string, Edge>
}

/** The part of a node that hardly changes while it is open. */
export abstract class NodeBase extends Emitter<NodeEvents> {
  readonly name: string
  readonly driver: AnyDriver
  readonly filename: string
  children: ReadonlyMap<string, Edge>
  readonly file: Edge | undefined
  backing: Edge | undefined
  readonly parents = new Uses<Edge>()
  readonly users = new Set<NodeUser>()
  permissions = UNUSED
  gainsWriting = false
  origin: NodeOrigin | undefined

  abstract get config(): CoreConfig
  abstract get ops(): NodeOps
  protected abstract get state(): string

  constructor({ name, driver, filename, children }: NodeInit) {
    super()
    this.name = name
    this.driver = driver
    this.filename = filename
    this.children = children
    const edges = [...children.values()]
    this.file = edges.find(({ kind }) => kind.isPrimary)
    this.backing = edges.find(({ kind }) => kind.isBacking)
  }

  get hasParents(): boolean {
    return this.parents.size > 0
  }

  get isUnused(): boolean {
    return this.config.closesUnused && this.parents.size + this.users.size === 0
  }

  get mayWrite(): boolean {
    return !this.config.readOnly || this.gainsWriting
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
      if (node.config.closesUnused && node.parents.size + node.users.size === 1) node.setPatience(patience)
  }
}
