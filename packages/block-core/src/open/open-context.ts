/** The driver's view of a node that is being opened: its children on demand, and its events. */

import { BlockError, messageOf } from '../base/errors.ts'
import type { ChangeObserver } from '../contract/changes.ts'
import { type ChildKind, storage } from '../contract/child-kinds.ts'
import type { AnyDriver } from '../contract/driver.ts'
import type { ChildReference } from '../contract/driver-facts.ts'
import type { OpenEnvironment } from '../contract/open-environment.ts'
import { isDriver } from '../contract/registry.ts'
import type { CheckReport, CorruptEvent, DriverEvents } from '../contract/reports.ts'
import { childrenOf, kindOf } from '../graph/child-options.ts'
import { type Inherited, isProtocolLike } from '../graph/common-options.ts'
import { GraphEdge } from '../graph/edge.ts'
import { findNode } from '../graph/environment.ts'
import { isBlockNode, linkedNode } from '../graph/known-nodes.ts'
import type { Edge, LinkedNode } from '../graph/links.ts'
import { updatePermissions } from '../graph/permissions.ts'
import { flattenOptions, isTree } from '../text/option-tree.ts'
import type { RawOptions } from '../text/options.ts'
import { bottomFilename } from './node-name.ts'

/** The longest chain of backing files. QEMU has no limit of its own and runs out of file handles or stack. */
export const MAX_CHAIN = 200

/** The deepest graph, from the user's node down. Requests use one stack, which overflows beyond 400 nodes. */
export const MAX_DEPTH = 300

/** Most files that the images of one graph may name: a backing and a data file for each image of a chain. */
const MAX_NAMES = 2 * MAX_CHAIN

/** Limits how many files the images of a graph name: each may name two, and so they could form a tree. */
export class GraphBudget {
  #names = 0

  /** Counts a file that an image names. @throws BlockError EINVAL */
  name(): void {
    if (++this.#names > MAX_NAMES)
      throw new BlockError('EINVAL', `The images name more than ${MAX_NAMES} files`)
  }
}

/** One node to open. */
export interface OpenRequest {
  readonly environment: OpenEnvironment
  readonly options: RawOptions
  /** The file name that the options were derived from, if any. */
  readonly filename?: string | undefined
  readonly inherited: Inherited
  /**
   * Lets a handle use the node, before its permissions are asked for. Undefined: parents will use it, if anything.
   *
   * @param writeCache `cache.writeback`
   */
  readonly hold: ((node: LinkedNode, writeCache: boolean) => void) | undefined
  /** If no driver is named, `filename` is a file of the host system and nothing is probed. */
  readonly protocol: boolean
  /** Number of nodes above. */
  readonly depth: number
  readonly budget: GraphBudget
  /** File names of the overlays above, top first. */
  readonly chain: readonly string[]
  /** File identities of the overlays above, if known: a file may have many names. */
  readonly chainIdentities: readonly string[]
}

/** Opens one node; opening recurses through it. */
export type OpenFunction = (request: OpenRequest) => Promise<LinkedNode>

/** What a child inherits from a node of this configuration. */
export interface ChildDefaults extends Inherited {
  /** The driver of the parent; undefined while it is being probed, which only formats are. */
  readonly driver: AnyDriver | undefined
}

/** A child as the user gave it. */
export interface GivenChild {
  /** A tree, an open node, a node's name, null; undefined when not given. */
  readonly value: unknown
  /** The file name that the tree was derived from, if any. */
  readonly filename?: string | undefined
}

/** The children of one node that is being opened. */
export class Children {
  /** Edges by name, as the node will have them. */
  readonly edges = new Map<string, Edge>()
  /** Names of children that are not the ones which the image names. */
  readonly overridden = new Set<string>()
  /** Children that the driver has requested. */
  readonly asked = new Set<string>()
  /** Opened before the driver was known, and not yet taken by it. */
  readonly #early = new Map<string, LinkedNode>()
  readonly #request: OpenRequest
  readonly #open: OpenFunction
  readonly #given: ReadonlyMap<string, GivenChild>

  constructor(request: OpenRequest, open: OpenFunction, given: ReadonlyMap<string, GivenChild>) {
    this.#request = request
    this.#open = open
    this.#given = given
  }

  /** Opens the child that the user gave, before the driver requests it. */
  async openEarly(role: string, defaults: ChildDefaults): Promise<LinkedNode | undefined> {
    const node = await this.#resolve(role, kindIn(defaults, role), undefined, defaults)
    if (node) this.#early.set(role, node)
    return node
  }

  /** Returns a child to the driver, and opens it unless it is open already. */
  async take(
    parent: string,
    role: string,
    implicit: ChildReference | undefined,
    defaults: ChildDefaults,
  ): Promise<Edge | undefined> {
    this.asked.add(role)
    const present = this.edges.get(role)
    if (present) return present
    const kind = kindIn(defaults, role)
    let node = this.#early.get(role)
    this.#early.delete(role)
    node ??= await this.#resolve(role, kind, implicit, defaults)
    if (!node) return undefined
    const { driver, readOnly, forceShare } = defaults
    const edge = new GraphEdge(role, kind, parent, node, driver && { driver, readOnly, forceShare })
    node.parents.add(edge)
    this.edges.set(role, edge)
    const { origin } = node
    if (origin && origin.parent === undefined && node.users.size === 0)
      node.origin = { ...origin, parent, role }
    if (!kind.isBacking && !defaults.readOnly && node.readOnly)
      throw new BlockError('EPERM', 'Block node is read-only', { node: node.name })
    updatePermissions([node])
    const { identity } = node.ops
    if (kind.isPrimary && identity !== undefined && this.#request.chainIdentities.includes(identity))
      throw new BlockError('EINVAL', `Backing file '${node.filename}' creates an infinite loop.`)
    return edge
  }

  /** Returns a list of children to the driver: those that the user gave, then those of `implicit`. */
  async takeList(
    parent: string,
    list: string,
    implicit: readonly ChildReference[],
    defaults: ChildDefaults,
  ): Promise<readonly Edge[]> {
    const edges: Edge[] = []
    for (let i = 0; ; i++) {
      const role = `${list}.${i}`
      if (!this.#given.has(role) && i >= implicit.length) return edges
      edges.push(await this.require(parent, role, implicit[i], defaults))
    }
  }

  /** Like {@link take}, for a child that there must be. @throws BlockError EINVAL */
  async require(...[parent, role, implicit, defaults]: Parameters<Children['take']>): Promise<Edge> {
    const edge = await this.take(parent, role, implicit, defaults)
    if (edge) return edge
    throw new BlockError('EINVAL', `A block device must be specified for "${role}"`, { node: parent })
  }

  /** Releases all children. Ignores errors of their shutdown: an earlier error is the one to report. */
  async abandon(): Promise<void> {
    for (const edge of [...this.edges.values()].reverse())
      await edge.node.releasedBy(edge).catch(() => undefined)
    await this.dropEarly()
  }

  /** Closes children that were opened early but not taken by the driver. */
  async dropEarly(): Promise<void> {
    for (const node of this.#early.values()) if (node.isUnused) await node.close().catch(() => undefined)
    this.#early.clear()
  }

  async #resolve(
    role: string,
    kind: ChildKind,
    implicit: ChildReference | undefined,
    defaults: ChildDefaults,
  ): Promise<LinkedNode | undefined> {
    const given = this.#given.get(role)
    if (kind.isBacking && (given?.value !== undefined || !implicit)) this.overridden.add(role)
    if (!implicit && (given?.value === undefined || given.value === null)) this.overridden.delete(role)
    try {
      return await this.#openGiven(role, kind, implicit, given, defaults)
    } catch (error) {
      if (!kind.isBacking || !(error instanceof BlockError)) throw error
      const { code, node, offset } = error
      throw new BlockError(code, `Could not open backing file: ${messageOf(error)}`, {
        node,
        offset,
        cause: error,
      })
    }
  }

  async #openGiven(
    role: string,
    kind: ChildKind,
    implicit: ChildReference | undefined,
    given: GivenChild | undefined,
    defaults: ChildDefaults,
  ): Promise<LinkedNode | undefined> {
    const { environment } = this.#request
    const value = given?.value
    if (value === null) return undefined
    if (isBlockNode(value)) return linkedNode(value)
    if (typeof value === 'string') {
      if (!kind.isBacking || value !== '') return linkedNode(findNode(environment, value))
      environment.onWarn?.('warning: Use of "backing": "" is deprecated; use "backing": null instead')
      return undefined
    }
    if (value !== undefined && !isTree(value))
      throw new BlockError('EINVAL', `Invalid parameter type for '${role}', expected: object`)
    let options = value
    if (implicit) options = await this.#withImplicit(role, kind, implicit, options)
    if (!options || (value === undefined && !implicit)) return undefined
    if (flattenOptions(options).next().done) return undefined
    const { chain, chainIdentities } = kind.isBacking ? this.#chainWith(options) : this.#request
    return this.#open({
      environment,
      options,
      filename: given?.filename,
      inherited: kind.isBacking
        ? { ...defaults, readOnly: true, autoReadOnly: false, unmap: true }
        : { ...defaults, unmap: true },
      hold: undefined,
      protocol: isProtocolChild(kind, defaults.driver, this.#request.protocol),
      depth: this.#request.depth + 1,
      budget: this.#request.budget,
      chain,
      chainIdentities,
    })
  }

  /**
   * Completes the user's options for a child with what the image says: everything, the name, or the format.
   */
  async #withImplicit(
    role: string,
    kind: ChildKind,
    implicit: ChildReference,
    given: RawOptions | undefined,
  ): Promise<RawOptions> {
    const { environment } = this.#request
    const driver = given?.['driver']
    const named = isDriver(driver) ? driver : environment.registry.find(String(driver))
    const hasFile =
      given !== undefined && ('file' in given || 'filename' in given || named?.kind === 'protocol')
    if (hasFile)
      return driver === undefined && implicit.driver !== undefined
        ? { driver: implicit.driver, ...given }
        : given
    this.#request.budget.name()
    const resolved = await environment.host.resolve(
      implicit,
      kind.isPrimary ? '' : this.#bottomFilename(),
      role,
    )
    return given ? { ...resolved, ...given } : resolved
  }

  /** The node that holds the bytes of the one that is being opened. */
  get #primary(): LinkedNode | undefined {
    for (const { kind, node } of this.edges.values()) if (kind.isPrimary) return node
    // Only that one is opened early.
    return this.#early.values().next().value
  }

  #bottomFilename(): string {
    return bottomFilename(this.#primary)
  }

  /** @throws BlockError EINVAL if a backing file is already part of the chain above it */
  #chainWith(options: RawOptions): Pick<OpenRequest, 'chain' | 'chainIdentities'> {
    const chain = [...this.#request.chain, this.#bottomFilename()]
    const filename = options['filename']
    if (typeof filename === 'string' && filename !== '' && chain.includes(filename))
      throw new BlockError('EINVAL', `Backing file '${filename}' creates an infinite loop.`)
    // Counts the image that is about to be opened.
    if (chain.length + 1 > MAX_CHAIN)
      throw new BlockError('EINVAL', `The backing chain is longer than ${MAX_CHAIN} images`)
    const identity = this.#primary?.ops.identity
    const { chainIdentities } = this.#request
    return {
      chain,
      chainIdentities: identity === undefined ? chainIdentities : [...chainIdentities, identity],
    }
  }
}

/**
 * Whether a child without a named driver is opened as a plain file rather than probed: QEMU's
 * BDRV_O_PROTOCOL.
 */
function isProtocolChild(
  { opens }: ChildKind,
  parent: AnyDriver | undefined,
  parentIsProtocol: boolean,
): boolean {
  if (opens !== 'as-parent' || !parent) return opens === 'plain'
  return isProtocolLike(parent) || parentIsProtocol
}

/** The kind of a child; before the driver is known, only the file of a format is asked for. */
function kindIn({ driver }: ChildDefaults, role: string): ChildKind {
  const kind = driver ? kindOf(childrenOf(driver), role) : storage
  if (!kind) throw new TypeError(`The driver declares no child '${role}'`)
  return kind
}

/** Relays a driver's events: to the environment at once, to the node as soon as it exists. */
export class EventRelay implements DriverEvents {
  readonly #environment: OpenEnvironment
  readonly #name: string
  #node: LinkedNode | undefined
  #kept: ((node: LinkedNode) => void)[] = []

  constructor(environment: OpenEnvironment, name: string) {
    this.#environment = environment
    this.#name = name
  }

  corrupt(event: CorruptEvent): void {
    this.#tell((node) => node.markCorrupt(event))
  }

  repair(report: CheckReport): void {
    this.#environment.onRepair?.(report, this.#name)
    this.#tell((node) => node.emit('repair', report))
  }

  warn(line: string): void {
    this.#environment.onWarn?.(line)
    this.#tell((node) => node.emit('warn', line))
  }

  /** {@link OpenContext.observe} */
  observe(observer: ChangeObserver): () => void {
    let end: (() => void) | undefined = () => {}
    this.#tell((node) => {
      end &&= node.observe(observer)
    })
    return () => {
      end?.()
      end = undefined
    }
  }

  /** Delivers the kept events to the node, which now exists. */
  connect(node: LinkedNode): void {
    this.#node = node
    for (const tell of this.#kept) tell(node)
    this.#kept = []
  }

  #tell(tell: (node: LinkedNode) => void): void {
    if (this.#node) tell(this.#node)
    else this.#kept.push(tell)
  }
}
