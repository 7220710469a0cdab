/** A node and an edge as the rest of the graph sees them: what BlockNode and BlockChild keep from users and drivers. */
import type { Emitter } from '../base/emitter.ts'
import type { ChangeKind } from '../contract/changes.ts'
import type { DebugEvent } from '../contract/debug-events.ts'
import type { AnyDriver } from '../contract/driver.ts'
import type { BlockChild, BlockNode, NodeBelow } from '../contract/node.ts'
import type { CoreConfig } from '../contract/node-config.ts'
import type { NodeEvents } from '../contract/node-events.ts'
import type { NodeOps, Patience } from '../contract/node-ops.ts'
import type { OpenEnvironment } from '../contract/open-environment.ts'
import type { Permissions } from '../contract/permissions.ts'
import type { CorruptEvent } from '../contract/reports.ts'
import type { RawOptions } from '../text/options.ts'
import type { Uses } from './uses.ts'

/** A node with its edges upwards and downwards. */
export interface LinkedNode extends NodeBelow, Pick<Emitter<NodeEvents>, 'emit'> {
  readonly driver: AnyDriver
  readonly config: CoreConfig
  /** By role, in the driver's order. exchange-backing.ts alone changes it. */
  children: ReadonlyMap<string, Edge>
  readonly file: Edge | undefined
  /** One of the children. exchange-backing.ts alone changes it. */
  backing: Edge | undefined
  /** The edges that lead to this node, with the permissions that they need. */
  readonly parents: Uses<Edge>
  /** The handles on this node. */
  readonly users: Set<NodeUser>
  /** A promise that a new request has to await before it checks again; undefined: it may begin now. */
  readonly held: Promise<void> | undefined
  /** The same, for a request that changes the disk. */
  readonly heldWrites: Promise<void> | undefined
  /** What the users of this node take and share, as its driver last accepted it: written by permissions.ts. */
  permissions: Permissions
  /** A reopen is about to make this node writable: it counts as a writer from now on. */
  gainsWriting: boolean
  /** Whether nothing uses the node any more, and it is to be closed then. */
  readonly isUnused: boolean
  /** Whether the node may write, or is about to be allowed to. */
  readonly mayWrite: boolean
  /** How the node was opened; undefined for nodes not made by `openNode`. */
  origin: NodeOrigin | undefined

  /** Announces a step of the driver above; undefined (nothing to await) without a debugging driver. */
  debugEvent(event: DebugEvent): void | Promise<void>
  /** See {@link setPatience}; also of the nodes that are open only for this one. */
  setPatience(patience: Patience): void
  /** Runs `body` as a request that changes nothing. Other copies of the library also call it. */
  counted<T>(offset: number, bytes: number, body: () => Promise<T>): Promise<T>
  /**
   * Runs an operation on the structure of the image, with no other request in flight. Observers are told of it if it
   * has a `kind`, that is if it may change the content.
   *
   * @param name the member of the driver's operations that `run` calls
   * @throws BlockError EPERM when read-only; ENOTSUP if the driver lacks the operation; ENOMEDIUM when closed
   */
  exclusive<T>(
    name: keyof NodeOps,
    kind: ChangeKind | undefined,
    run: (ops: NodeOps) => Promise<T>,
  ): Promise<T>
  /** A parent releases this node, which is closed if nothing uses it any more. */
  releasedBy(edge: Edge, crashed?: boolean): Promise<void>
  /**
   * A child was exchanged, or what it can do has changed: so may the limits and abilities of this node, and of those
   * above it. {@link Edge.replace} and {@link reconfigure} call it.
   */
  refresh(): void
  /** The driver, or a reopen, changed the configuration of the node. */
  reconfigure(config: CoreConfig): void
  /** The driver found the image broken. */
  markCorrupt(event: CorruptEvent): void
}

/** A handle's hold on a node, with the permissions that the handle wants there. */
export interface NodeUser extends Permissions {
  /** Undefined for a job. */
  readonly handle?: BlockNode
  taken: number
  shared: number
  /** Holds back new requests of the handle until the returned function is called. Holds may overlap. */
  hold(): () => void
  node: LinkedNode
  /** Points the handle at another node. Its requests must be held back, and none in flight. */
  replace(node: LinkedNode): void
}

/** How a node was opened: internal facts for reopening and naming it. */
export interface NodeOrigin {
  readonly environment: OpenEnvironment
  /** The node that opened this one as its own child and passes options down; undefined for other nodes. */
  readonly parent: string | undefined
  readonly role: string | undefined
  /** Options that would open an equal node again: QEMU's `full_open_options`. */
  readonly full: RawOptions
  readonly forceShare: boolean
  readonly autoReadOnly: boolean
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
