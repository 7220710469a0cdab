/** A node and an edge as the rest of the graph sees them: what BlockNode and BlockChild keep from users and drivers. */
import type { AnyDriver } from '../contract/driver.ts'
import type { ChildRole } from '../contract/driver-facts.ts'
import type { BlockChild, BlockNode } from '../contract/node.ts'
import type { NodeConfig } from '../contract/node-config.ts'
import type { Permissions } from '../contract/permissions.ts'
import type { CorruptEvent } from '../contract/reports.ts'

/** A node with its edges upwards and downwards. */
export interface LinkedNode extends BlockNode {
  readonly driver: AnyDriver
  readonly children: ReadonlyMap<ChildRole, Edge>
  readonly file: Edge | undefined
  readonly backing: Edge | undefined
  /** The edges that lead to this node. */
  readonly parents: Parents

  /** Runs `body` as a request that changes nothing. Other copies of the library also call it. */
  counted<T>(offset: number, bytes: number, body: () => Promise<T>): Promise<T>
  /** A parent releases this node; the last parent closes a node that was opened for its parents. */
  releasedBy(edge: Edge, crashed?: boolean): Promise<void>
  /**
   * A child was exchanged, or what it can do has changed: so may the limits and abilities of this node, and of those
   * above it. {@link Edge.replace} and {@link reconfigure} call it.
   */
  refresh(): void
  /** The driver, or a reopen, changed the configuration of the node. */
  reconfigure(config: NodeConfig): void
  /** The driver found the image broken. */
  markCorrupt(event: CorruptEvent): void
}

/** What is known of a parent before its node exists. */
export interface OpeningParent {
  readonly driver: AnyDriver
  readonly readOnly: boolean
  /** `force-share=on`: the parent tolerates writers, and does not restrict other users. */
  readonly forceShare: boolean
}

/** One parent's hold on one child node. */
export interface Edge extends BlockChild {
  readonly node: LinkedNode
  /** The node above, once it exists. */
  owner: LinkedNode | undefined
  /** How the node above is opened; undefined for edges that were made by hand. */
  readonly opening: OpeningParent | undefined
  /** Points the edge at another node. The parent must be drained; it is refreshed. */
  replace(node: LinkedNode): void
  /** From now on every request is refused. */
  sever(): void
}

/** The edges that lead to a node, with the permissions that they need. */
export interface Parents extends Iterable<Edge> {
  readonly size: number
  add(edge: Edge): unknown
  delete(edge: Edge): boolean
  has(edge: Edge): boolean
  /** The permissions of an edge may have changed. */
  touch(edge: Edge): void
  /** Whether all of them use the node as a backing file. */
  readonly areBacking: boolean
  /** Computes the permissions of edges that were added, removed or changed. */
  update(find: (edge: Edge) => Permissions): void
  /** The distinct permissions of the edges, as of the last {@link update}. */
  uses(): Iterable<Permissions>
}
