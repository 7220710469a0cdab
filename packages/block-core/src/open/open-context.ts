/** The driver's view of a node that is being opened: its children on demand, and its events. */

import { BlockError, messageOf } from '../base/errors.ts'
import type { AnyDriver } from '../contract/driver.ts'
import type { ChildReference, ChildRole } from '../contract/driver-facts.ts'
import type { CheckReport, CorruptEvent, DriverEvents } from '../contract/reports.ts'
import { requireUse } from '../graph/access.ts'
import { type Inherited, isProtocolLike } from '../graph/common-options.ts'
import { GraphEdge } from '../graph/edge.ts'
import { findNode, type OpenEnvironment, originOf, setOrigin } from '../graph/environment.ts'
import { isBlockNode, linkedNode } from '../graph/known-nodes.ts'
import type { Edge, LinkedNode } from '../graph/links.ts'
import { settlePermissions } from '../graph/permissions.ts'
import { flattenOptions, isTree } from '../text/key-value.ts'
import type { RawOptions } from '../text/options.ts'
import { placeOf } from './node-name.ts'

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
  /** Held by a user, not by a parent. */
  readonly isTop: boolean
  /** If no driver is named, `filename` is a file of the host system and nothing is probed. */
  readonly protocol: boolean
  /** Number of nodes above. */
  readonly depth: number
  readonly budget: GraphBudget
  /** File names of the overlays above, top first. */
  readonly chain: readonly string[]
  /** File identities of the overlays above, if known: a file may have many names. */
  readonly chainPlaces: readonly string[]
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
  /** Edges by role, as the node will have them. */
  readonly edges = new Map<ChildRole, Edge>()
  /** Roles whose child is not the one the image names. */
  readonly overridden = new Set<ChildRole>()
  /** Children that the driver has requested. */
  readonly asked = new Set<ChildRole>()
  /** Opened before the driver was known, and not yet taken by it. */
  readonly #early = new Map<ChildRole, LinkedNode>()
  readonly #request: OpenRequest
  readonly #open: OpenFunction
  readonly #given: ReadonlyMap<ChildRole, GivenChild>

  constructor(request: OpenRequest, open: OpenFunction, given: ReadonlyMap<ChildRole, GivenChild>) {
    this.#request = request
    this.#open = open
    this.#given = given
  }

  /** Opens the child that the user gave, before the driver requests it. */
  async openEarly(role: ChildRole, defaults: ChildDefaults): Promise<LinkedNode | undefined> {
    const node = await this.#resolve(role, undefined, defaults)
    if (node) this.#early.set(role, node)
    return node
  }

  /** Returns a child to the driver, and opens it unless it is open already. */
  async take(
    parent: string,
    role: ChildRole,
    implicit: ChildReference | undefined,
    defaults: ChildDefaults,
  ): Promise<Edge | undefined> {
    this.asked.add(role)
    const present = this.edges.get(role)
    if (present) return present
    let node = this.#early.get(role)
    this.#early.delete(role)
    node ??= await this.#resolve(role, implicit, defaults)
    if (!node) return undefined
    const { driver, readOnly, forceShare } = defaults
    const edge = new GraphEdge(role, parent, node, driver && { driver, readOnly, forceShare })
    node.parents.add(edge)
    this.edges.set(role, edge)
    const origin = originOf(node)
    if (origin && origin.parent === undefined && node.config.ownedByParents)
      setOrigin(node, { ...origin, parent, role })
    if (role !== 'backing' && !defaults.readOnly && node.readOnly)
      throw new BlockError('EPERM', 'Block node is read-only', { node: node.name })
    requireUse(edge)
    settlePermissions([node])
    const { place } = node.ops
    if (role === 'file' && place !== undefined && this.#request.chainPlaces.includes(place))
      throw new BlockError('EINVAL', `Backing file '${node.filename}' creates an infinite loop.`)
    return edge
  }

  /** Releases all children. Ignores errors of their shutdown: an earlier error is the one to report. */
  async abandon(): Promise<void> {
    for (const edge of [...this.edges.values()].reverse())
      await edge.node.releasedBy(edge).catch(() => undefined)
    await this.dropEarly()
  }

  /** Closes children that were opened early but not taken by the driver. */
  async dropEarly(): Promise<void> {
    for (const node of this.#early.values())
      if (node.config.ownedByParents) await node.close().catch(() => undefined)
    this.#early.clear()
  }

  async #resolve(
    role: ChildRole,
    implicit: ChildReference | undefined,
    defaults: ChildDefaults,
  ): Promise<LinkedNode | undefined> {
    const given = this.#given.get(role)
    if (role === 'backing' && (given?.value !== undefined || !implicit)) this.overridden.add(role)
    if (!implicit && (given?.value === undefined || given.value === null)) this.overridden.delete(role)
    try {
      return await this.#openGiven(role, implicit, given, defaults)
    } catch (error) {
      if (role !== 'backing' || !(error instanceof BlockError)) throw error
      const { code, node, offset } = error
      throw new BlockError(code, `Could not open backing file: ${messageOf(error)}`, {
        node,
        offset,
        cause: error,
      })
    }
  }

  async #openGiven(
    role: ChildRole,
    implicit: ChildReference | undefined,
    given: GivenChild | undefined,
    defaults: ChildDefaults,
  ): Promise<LinkedNode | undefined> {
    const { environment } = this.#request
    const value = given?.value
    if (value === null) return undefined
    if (isBlockNode(value)) return linkedNode(value)
    if (typeof value === 'string') {
      if (role !== 'backing' || value !== '') return linkedNode(findNode(environment, value))
      environment.onWarn?.('warning: Use of "backing": "" is deprecated; use "backing": null instead')
      return undefined
    }
    if (value !== undefined && !isTree(value))
      throw new BlockError('EINVAL', `Invalid parameter type for '${role}', expected: object`)
    let options = value
    if (implicit) options = await this.#withImplicit(role, implicit, options)
    if (!options || (value === undefined && !implicit)) return undefined
    if (flattenOptions(options).next().done) return undefined
    const { chain, chainPlaces } = role === 'backing' ? this.#chainWith(options) : this.#request
    return this.#open({
      environment,
      options,
      filename: given?.filename,
      inherited:
        role === 'backing'
          ? { ...defaults, readOnly: true, autoReadOnly: false, unmap: true }
          : { ...defaults, unmap: true },
      isTop: false,
      protocol: isProtocolChild(role, defaults.driver, this.#request.protocol),
      depth: this.#request.depth + 1,
      budget: this.#request.budget,
      chain,
      chainPlaces,
    })
  }

  /**
   * Completes the user's options for a child with what the image says: everything, the name, or the format.
   */
  async #withImplicit(
    role: ChildRole,
    implicit: ChildReference,
    given: RawOptions | undefined,
  ): Promise<RawOptions> {
    const { environment } = this.#request
    const driver = given?.['driver']
    const named = typeof driver === 'string' ? environment.registry.find(driver) : undefined
    const hasPlace =
      given !== undefined && ('file' in given || 'filename' in given || named?.kind === 'protocol')
    if (hasPlace)
      return driver === undefined && implicit.driver !== undefined
        ? { driver: implicit.driver, ...given }
        : given
    this.#request.budget.name()
    const resolved = await environment.host.resolve(implicit, this.#place(role), role)
    return given ? { ...resolved, ...given } : resolved
  }

  #place(role: ChildRole): string {
    return role === 'file' ? '' : placeOf(this.edges.get('file')?.node ?? this.#early.get('file'))
  }

  /** @throws BlockError EINVAL if a backing file is already part of the chain above it */
  #chainWith(options: RawOptions): Pick<OpenRequest, 'chain' | 'chainPlaces'> {
    const chain = [...this.#request.chain, this.#place('backing')]
    const filename = options['filename']
    if (typeof filename === 'string' && filename !== '' && chain.includes(filename))
      throw new BlockError('EINVAL', `Backing file '${filename}' creates an infinite loop.`)
    // Counts the image that is about to be opened.
    if (chain.length + 1 > MAX_CHAIN)
      throw new BlockError('EINVAL', `The backing chain is longer than ${MAX_CHAIN} images`)
    const place = this.edges.get('file')?.node.ops.place
    const { chainPlaces } = this.#request
    return { chain, chainPlaces: place === undefined ? chainPlaces : [...chainPlaces, place] }
  }
}

/**
 * Whether a child without a named driver is opened as a plain file rather than probed: QEMU's
 * BDRV_O_PROTOCOL.
 */
function isProtocolChild(role: ChildRole, parent: AnyDriver | undefined, parentIsProtocol: boolean): boolean {
  if (role === 'log') return true
  const isFormat = parent === undefined || parent.kind === 'format'
  if (isFormat) return role !== 'backing'
  if (role === 'test') return false
  return isProtocolLike(parent) || (parentIsProtocol && parent.kind !== 'filter')
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
