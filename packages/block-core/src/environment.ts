/**
 * What opening depends on, and the nodes that were opened with it: names are unique within one environment.
 */
import { expects, requireCallback, wrongValue } from './arguments.ts'
import type { CheckReport, ChildRole } from './driver.ts'
import { BlockError } from './errors.ts'
import type { OpenHost } from './host.ts'
import type { BlockNode } from './node.ts'
import type { RawOptions } from './options.ts'
import type { DriverRegistry } from './registry.ts'
import { shared } from './shared-state.ts'

/** What opening depends on. Nodes opened with the same object share one space of node names. */
export interface OpenEnvironment {
  readonly registry: DriverRegistry
  readonly host: OpenHost
  /**
   * Takes every line that a node of this environment has for a person (QEMU prints them to stderr), also
   * those of children and those made while opening, which no listener of a node's `warn` event can hear.
   */
  readonly onWarn?: (line: string) => void
  /** Told of every repair that ran while opening or reopening. */
  readonly onRepair?: (report: CheckReport, nodeName: string) => void
}

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null

const requireRegistry = expects(
  'a DriverRegistry',
  (value) => isObject(value) && typeof (value as Partial<DriverRegistry>).byPrefix === 'function',
)
const requireHost = expects(
  'a host, such as denyHost',
  (value) => isObject(value) && typeof (value as Partial<OpenHost>).resolve === 'function',
)

/** @throws BlockError EINVAL: a host that is missing would be missed only once an image names a file */
export function requireEnvironment(environment: OpenEnvironment): void {
  if (!isObject(environment)) throw wrongValue('environment', '{ registry, host }', environment)
  const { registry, host, onWarn, onRepair } = environment
  requireRegistry(registry, 'registry')
  requireHost(host, 'host')
  if (onWarn !== undefined) requireCallback(onWarn, 'onWarn')
  if (onRepair !== undefined) requireCallback(onRepair, 'onRepair')
}

/** How a node came to be: what reopening and naming it need, and its users do not. */
export interface NodeOrigin {
  readonly environment: OpenEnvironment
  /** The node that opened this one for itself and hands down options, and as what; undefined for others. */
  readonly parent: string | undefined
  readonly role: ChildRole | undefined
  /** What would open an equal node again: QEMU's `full_open_options`. */
  readonly full: RawOptions
  readonly forceShare: boolean
  readonly autoReadOnly: boolean
}

const origins = shared('origins', () => new WeakMap<BlockNode, NodeOrigin>())

/** How a node was opened; undefined for nodes that were not made by `openNode`. */
export const originOf = (node: BlockNode): NodeOrigin | undefined => origins.get(node)

/** @internal */
export const setOrigin = (node: BlockNode, origin: NodeOrigin): void => void origins.set(node, origin)

/** The names of one environment. */
class NodeTable {
  readonly #nodes = new Map<string, BlockNode | undefined>()
  #count = 0

  /**
   * Takes a name, before its node exists.
   *
   * @throws BlockError EINVAL for a malformed or taken name
   */
  reserve(wanted: string | undefined): string {
    const name = wanted ?? `#block${String(this.#count++).padStart(3, '0')}`
    if (wanted !== undefined && !/^[a-z][-._a-z0-9]*$/i.test(wanted))
      throw new BlockError('EINVAL', `Invalid node-name: '${wanted}'`)
    if (this.#nodes.has(name)) throw new BlockError('EINVAL', `Duplicate nodes with node-name='${name}'`)
    if (name.length > 31) throw new BlockError('EINVAL', 'Node name too long')
    this.#nodes.set(name, undefined)
    return name
  }

  release(name: string): void {
    this.#nodes.delete(name)
  }

  add(node: BlockNode): void {
    this.#nodes.set(node.name, node)
    node.once('close', () => this.#nodes.delete(node.name))
  }

  find(name: string): BlockNode | undefined {
    return this.#nodes.get(name)
  }

  /** The open nodes that have `node` as a child. */
  *parentsOf(node: BlockNode): Generator<[parent: BlockNode, role: ChildRole]> {
    for (const parent of this.#nodes.values()) {
      for (const [role, edge] of parent?.children ?? [])
        if (parent && edge.node === node) yield [parent, role]
    }
  }
}

const tables = shared('tables', () => new WeakMap<OpenEnvironment, NodeTable>())

/** @internal */
export function tableOf(environment: OpenEnvironment): NodeTable {
  const table = tables.get(environment) ?? new NodeTable()
  tables.set(environment, table)
  return table
}

/**
 * The open node of that name.
 *
 * @throws BlockError ENOENT
 */
export function findNode(environment: OpenEnvironment, name: string): BlockNode {
  const node = tableOf(environment).find(name)
  if (!node) throw new BlockError('ENOENT', `Cannot find device='${name}' nor node-name='${name}'`)
  return node
}
