/**
 * What opening nodes depends on, and the nodes opened with it: node names are unique within one environment.
 */

import { expects, requireCallback, requireText, wrongValue } from '../base/arguments.ts'
import { BlockError } from '../base/errors.ts'
import { shared } from '../base/shared-state.ts'
import type { ImageResolver } from '../contract/image-resolver.ts'
import type { BlockNode } from '../contract/node.ts'
import type { OpenEnvironment } from '../contract/open-environment.ts'
import type { DriverRegistry } from '../contract/registry.ts'
import type { LinkedNode } from './links.ts'

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null

const requireRegistry = expects(
  'a DriverRegistry',
  (value) => isObject(value) && typeof (value as Partial<DriverRegistry>).byPrefix === 'function',
)
const requireResolver = expects(
  'a host, such as denyHost',
  (value) => isObject(value) && typeof (value as Partial<ImageResolver>).resolve === 'function',
)

/** Otherwise a missing `host` would go unnoticed until an image names a file. @throws BlockError EINVAL */
export function requireEnvironment(environment: OpenEnvironment): void {
  if (!isObject(environment)) throw wrongValue('environment', '{ registry, host }', environment)
  const { registry, host, onWarn, onRepair, secret } = environment
  requireRegistry(registry, 'registry')
  requireResolver(host, 'host')
  if (onWarn !== undefined) requireCallback(onWarn, 'onWarn')
  if (onRepair !== undefined) requireCallback(onRepair, 'onRepair')
  if (secret !== undefined) requireCallback(secret, 'secret')
}

/** The bytes of a secret. @throws BlockError EINVAL for an unknown id */
export async function secretOf(environment: OpenEnvironment | undefined, id: string): Promise<Uint8Array> {
  if (environment?.secret) return environment.secret(id)
  throw new BlockError('EINVAL', `No secret with id '${id}'`)
}

/** The names of one environment. */
class NodeTable {
  readonly #nodes = new Map<string, LinkedNode | undefined>()
  #count = 0

  /**
   * Reserves a name, or makes one up, before its node exists.
   *
   * @throws BlockError EINVAL if the name is malformed or taken
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

  add(node: LinkedNode): void {
    this.#nodes.set(node.name, node)
    node.once('close', () => this.#nodes.delete(node.name))
  }

  find(name: string): LinkedNode | undefined {
    return this.#nodes.get(name)
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
 * @throws BlockError ENOENT; EINVAL for arguments of other types
 */
export function findNode(environment: OpenEnvironment, name: string): BlockNode {
  requireEnvironment(environment)
  requireText(name, 'name')
  const node = tableOf(environment).find(name)
  if (!node) throw new BlockError('ENOENT', `Cannot find device='${name}' nor node-name='${name}'`)
  return node
}
