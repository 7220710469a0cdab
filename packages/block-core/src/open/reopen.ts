/** Reopens a node: plans the changes of it and its own children, then applies all or none in two phases. */

import { type Check, expects, requireFlag, requireOptions } from '../base/arguments.ts'
import { BlockError, isBlockError } from '../base/errors.ts'
import type { AnyDriver } from '../contract/driver.ts'
import type { KeepOptions } from '../contract/driver-facts.ts'
import type { BlockNode } from '../contract/node.ts'
import type { CoreConfig } from '../contract/node-config.ts'
import type { PreparedReopen, ReopenRequest } from '../contract/node-ops.ts'
import type { OpenEnvironment } from '../contract/open-environment.ts'
import type { Disk } from '../disk/disk.ts'
import { takeChildValue } from '../graph/child-options.ts'
import {
  type CommonOptions,
  type Inherited,
  nodeConfig,
  splitDriverOptions,
  takeCommon,
} from '../graph/common-options.ts'
import { tableOf } from '../graph/environment.ts'
import { isBlockNode, linkedNode } from '../graph/known-nodes.ts'
import type { Edge, LinkedNode, NodeOrigin } from '../graph/links.ts'
import { requireNode } from '../graph/node-arguments.ts'
import { nodeTitle } from '../graph/node-text.ts'
import {
  type EdgeMove,
  gainWriting,
  moveEdges,
  reserveMoves,
  updatePermissions,
} from '../graph/permissions.ts'
import { flattenOptions, isTree, mergeOptions, nestOptions, spelledAs } from '../text/option-tree.ts'
import { camelKey, type OptionTable, parseOptions, type RawOptions } from '../text/options.ts'

/** What to change; everything else stays as it is. */
export interface ReopenOptions {
  readonly readOnly?: boolean
  readonly cache?: { readonly writeCache?: boolean; readonly direct?: boolean; readonly noFlush?: boolean }
  /**
   * Options as for `openNode`: common ones, those that the driver allows to change, and those of the children
   * under their names. A child may be replaced by another open node, given as an object or by name.
   */
  readonly options?: RawOptions
}

const REOPEN: Readonly<Record<string, Check>> = {
  readOnly: requireFlag,
  cache: (value) =>
    requireOptions(value, 'cache', { writeCache: requireFlag, direct: requireFlag, noFlush: requireFlag }),
  options: expects('a plain object', isTree),
}

/** The change of one node. */
interface Change {
  readonly node: LinkedNode
  readonly before: CoreConfig
  readonly after: CoreConfig
  /** All options of the driver, parsed. */
  readonly options: Readonly<Record<string, unknown>>
  readonly optionsBefore: Readonly<Record<string, unknown>>
  readonly replaced: readonly EdgeMove[]
  readonly origin: NodeOrigin
}

/**
 * Reopens a node, together with the children that it opened itself and that inherit from it: QEMU's
 * `bdrv_reopen`. Waits for the requests in flight, and holds new ones back meanwhile. If anything fails,
 * everything is as before. The cache mode for writing is that of the handle that is given.
 *
 * @throws BlockError EINVAL `Cannot change the option 'X'`; EPERM if the node below stays read-only; errors
 *   of the drivers
 */
export async function reopenNode(node: BlockNode, request: ReopenOptions): Promise<void> {
  requireNode(node, 'node')
  requireOptions(request, 'request', REOPEN)
  try {
    await reopen(node, linkedNode(node), request)
  } catch (error) {
    if (isBlockError(error)) error.message = spelledAs(request.options ?? {}, error.message)
    throw error
  }
}

async function reopen(target: BlockNode, node: LinkedNode, request: ReopenOptions): Promise<void> {
  await node.drained(async () => {
    const given = givenOptions(request)
    const changes = planReopen(node, given, await keepersBelow(node))
    const { writeCache } = takeCommon(given, true).common
    if (writeCache !== undefined && !('writeCache' in target)) throw cannotChange('cache.writeback')
    const nodes = changes.map((change) => change.node)
    const end = gainWriting(becomingWritable(changes).map((change) => change.node))
    let release: (() => void) | undefined
    try {
      updatePermissions(nodes)
      release = reserveMoves(changes.flatMap(({ replaced }) => replaced))
      await flushChanges(node, changes)
      await applyChanges(changes)
      if (writeCache !== undefined) (target as Disk).writeCache = writeCache
    } finally {
      end()
      release?.()
      updatePermissions(nodes)
    }
  })
}

// ---- the plan: everything that can be refused without calling a driver ----

function givenOptions({ readOnly, cache = {}, options = {} }: ReopenOptions): RawOptions {
  const { writeCache, direct, noFlush } = cache
  const core = nestOptions({
    'read-only': readOnly,
    'cache.writeback': writeCache,
    'cache.direct': direct,
    'cache.no-flush': noFlush,
  })
  return mergeOptions(core, nestOptions(options))
}

/** What drivers keep of earlier options. */
type Keepers = ReadonlyMap<AnyDriver, KeepOptions>

/** Loads what the drivers of a node and of those below it keep: the plan itself may not wait. */
async function keepersBelow(root: LinkedNode): Promise<Keepers> {
  const keepers = new Map<AnyDriver, KeepOptions>()
  for (;;) {
    // Another reopen may bring in new nodes meanwhile.
    const driver = driversBelow(root).find((one) => one.keepOptions && !keepers.has(one))
    if (!driver) return keepers
    keepers.set(driver, await driver.keepOptions!())
  }
}

const driversBelow = ({ driver, children }: LinkedNode): AnyDriver[] => [
  driver,
  ...[...children.values()].flatMap(({ node }) => driversBelow(node)),
]

/** The changes, parents before their children. */
function planReopen(root: LinkedNode, given: RawOptions, keepers: Keepers): Change[] {
  const changes: Change[] = []
  plan(root, given, undefined, changes, keepers)
  for (const change of changes) checkAccess(change, changes)
  return changes
}

function plan(
  node: LinkedNode,
  given: RawOptions,
  inherited: Inherited | undefined,
  changes: Change[],
  keepers: Keepers,
): void {
  const { origin } = node
  if (!origin)
    throw new BlockError('ENOTSUP', `${nodeTitle(node)} was not opened from options`, { node: node.name })
  const { config: before } = node
  const own: Record<string, unknown> = { ...given }
  const childOptions = new Map<string, unknown>()
  for (const role of node.children.keys()) {
    const value = takeChildValue(own, role)
    if (value !== undefined) childOptions.set(role, value)
  }
  if (own['backing'] === null) delete own['backing']
  for (const role of ['file', 'backing']) {
    const name = own[role]
    // A node that does not exist is reported before a role that this driver does not have.
    if (typeof name === 'string') namedNode(origin.environment, name)
  }
  const kept = keepers.get(node.driver)?.(before.explicit, own) ?? before.explicit
  const explicit = mergeOptions(kept, own)
  const { common } = takeCommon(explicit, inherited === undefined)
  checkIdentity(node, own)
  const base = inherited ?? { ...before, forceShare: origin.forceShare, autoReadOnly: origin.autoReadOnly }
  const [options, optionsBefore] = driverOptions(node, explicit, own)
  const replaced = [...childOptions].flatMap(([role, value]) => replacement(node, role, value, origin))
  const forceShare = common.forceShare ?? base.forceShare
  const autoReadOnly = common.autoReadOnly ?? base.autoReadOnly
  const wanted = configAfter(common, base, before, explicit)
  const after = { ...wanted, readOnly: wanted.readOnly || (autoReadOnly && !node.ops.write) }
  changes.push({
    node,
    before,
    after,
    options,
    optionsBefore,
    replaced,
    origin: { ...origin, forceShare, autoReadOnly },
  })

  for (const [role, edge] of node.children) {
    const below = childOptions.get(role)
    const tree = isTree(below) ? below : {}
    const isOwned = edge.node.origin?.parent === node.name
    if (replaced.some((swap) => swap.edge === edge) || changes.some((change) => change.node === edge.node))
      continue
    if (!isOwned) {
      const [key] = flattenOptions(tree, `${role}.`).next().value ?? []
      if (key !== undefined) throw cannotChange(key)
      continue
    }
    const readOnly = edge.kind.isBacking ? true : after.readOnly
    const defaults = {
      ...after,
      readOnly,
      unmap: true,
      forceShare,
      autoReadOnly: !edge.kind.isBacking && autoReadOnly,
    }
    // The items of a list are as the user spelled them.
    plan(edge.node, nestOptions(tree), defaults, changes, keepers)
  }
}

/** Options that are not given: a root keeps its own, a child inherits them again. */
function configAfter(
  common: CommonOptions,
  base: Inherited,
  before: CoreConfig,
  explicit: RawOptions,
): CoreConfig {
  const after = nodeConfig(common, base, explicit)
  const detectZeroes = common.detectZeroes ?? before.detectZeroes
  return { ...after, detectZeroes, checkMode: before.checkMode, noIo: before.noIo }
}

/** @throws BlockError EINVAL if the driver, the name, or a mode of opening would change */
function checkIdentity(node: LinkedNode, given: RawOptions): void {
  if (given['driver'] !== undefined && given['driver'] !== node.driver.name) throw cannotChange('driver')
  if (given['node-name'] !== undefined && given['node-name'] !== node.name) throw cannotChange('node-name')
  const { checkMode, noIo } = node.config
  for (const [key, value] of [
    ['check-mode', checkMode],
    ['no-io', noIo],
  ] as const)
    if (given[key] !== undefined && given[key] !== value) throw cannotChange(key)
}

const cannotChange = (key: string): BlockError =>
  new BlockError('EINVAL', `Cannot change the option '${key}'`)

/** The driver's options after and before the reopen. */
function driverOptions(
  node: LinkedNode,
  explicit: RawOptions,
  given: RawOptions,
): [after: Readonly<Record<string, unknown>>, before: Readonly<Record<string, unknown>>] {
  const { driver } = node
  const table: OptionTable = driver.options ?? {}
  const parse = (tree: RawOptions): Readonly<Record<string, unknown>> =>
    parseOptions(table, splitDriverOptions(driver, takeCommon(tree, true).rest).known)
  const { known, unknown } = splitDriverOptions(driver, takeCommon(given, true).rest)
  const [stranger] = unknown
  if (stranger !== undefined && stranger !== 'check-mode' && stranger !== 'no-io')
    throw cannotChange(stranger)
  const before = parse(node.config.explicit)
  const after = parse(explicit)
  for (const key of Object.keys(known)) {
    const isMutable =
      node.ops.prepareReopen !== undefined && driver.mutableOptions?.includes(camelKey(key)) === true
    if (!isMutable && !isSame(before[camelKey(key)], after[camelKey(key)])) throw cannotChange(key)
  }
  return [after, before]
}

const isSame = (a: unknown, b: unknown): boolean => a === b || JSON.stringify(a) === JSON.stringify(b)

/** The node that replaces a child, if any. */
function replacement(
  parent: LinkedNode,
  role: string,
  value: unknown,
  { environment }: NodeOrigin,
): { edge: Edge; node: LinkedNode }[] {
  const edge = parent.children.get(role)
  if (!edge || isTree(value)) return []
  // A driver cannot give up a child that it has.
  if (value === null) throw new BlockError('ENOTSUP', `Cannot change the option '${role}'`)
  const node = isBlockNode(value)
    ? linkedNode(value)
    : typeof value === 'string'
      ? namedNode(environment, value)
      : undefined
  if (!node) throw cannotChange(role)
  if (node === edge.node) return []
  if (reaches(node, parent))
    throw new BlockError(
      'EINVAL',
      `Making '${node.name}' a ${role} child of '${parent.name}' would create a cycle`,
    )
  return [{ edge, node }]
}

/**
 * In a reopen QEMU searches for a node only, hence the empty device name in its message.
 *
 * @throws BlockError ENOENT
 */
function namedNode(environment: OpenEnvironment, name: string): LinkedNode {
  const node = tableOf(environment).find(name)
  if (!node) throw new BlockError('ENOENT', `Cannot find device='' nor node-name='${name}'`)
  return node
}

const reaches = (from: LinkedNode, to: LinkedNode): boolean =>
  from === to || [...from.children.values()].some((edge) => reaches(edge.node, to))

/** @throws BlockError EPERM if a writable node would be above a read-only one */
function checkAccess({ node, after, replaced }: Change, changes: readonly Change[]): void {
  const readOnlyAfter = (other: LinkedNode): boolean =>
    changes.find((change) => change.node === other)?.after.readOnly ?? other.readOnly
  const refuse = (): never => {
    throw new BlockError('EPERM', 'Block node is read-only', { node: node.name })
  }
  if (!after.readOnly) {
    if (!node.ops.write)
      throw new BlockError('EPERM', `Node '${node.name}' is read only`, { node: node.name })
    for (const edge of node.children.values()) {
      const below = replaced.find((swap) => swap.edge === edge)?.node ?? edge.node
      if (!edge.kind.isBacking && readOnlyAfter(below)) refuse()
    }
    return
  }
  for (const { kind, owner } of node.parents) if (owner && !kind.isBacking && !readOnlyAfter(owner)) refuse()
}

const becomingWritable = (changes: readonly Change[]): Change[] =>
  changes.filter(({ before, after }) => before.readOnly && !after.readOnly)

// ---- the two phases ----

/** All data written so far must be durable before a node loses the right to write. */
async function flushChanges(root: LinkedNode, changes: readonly Change[]): Promise<void> {
  for (const { node, before } of changes) {
    if (before.readOnly) continue
    // The root holds back all requests, including this one, so its driver is called directly; nodes below do
    // not.
    if (node !== root) await node.flush()
    else if (node.driver.kind !== 'protocol' || !before.noFlush) await node.ops.flush?.()
  }
}

/**
 * Nodes that become writable come first, from the bottom up: a format finds its file writable when it
 * prepares, and may repair the image. Then the others prepare, and when all have, they commit from the
 * top down: a node that loses the right to write can still finish writing to the file below.
 */
async function applyChanges(changes: readonly Change[]): Promise<void> {
  const gaining = becomingWritable(changes).reverse()
  const others = changes.filter((change) => !gaining.includes(change))
  const done: Change[] = []
  const prepared: { readonly change: Change; readonly step: PreparedReopen | undefined }[] = []
  try {
    for (const change of gaining) {
      const step = await prepare(change)
      await commit(change, step)
      done.push(change)
    }
    for (const change of others) prepared.push({ change, step: await prepare(change) })
  } catch (error) {
    for (const { step } of prepared.reverse()) await step?.abort()
    for (const change of done.reverse()) await undo(change)
    throw error
  }
  for (const { change, step } of prepared) await commit(change, step)
  for (const change of changes) await replaceChildren(change)
}

function prepare({
  node,
  before,
  after,
  options,
  optionsBefore,
}: Change): Promise<PreparedReopen | undefined> {
  const same = isSame({ ...before, explicit: 0 }, { ...after, explicit: 0 }) && isSame(options, optionsBefore)
  return same ? Promise.resolve(undefined) : prepareDriver(node, after, options)
}

async function prepareDriver(
  node: LinkedNode,
  { readOnly, direct, unmap }: CoreConfig,
  options: ReopenRequest['options'],
): Promise<PreparedReopen | undefined> {
  return node.ops.prepareReopen?.({ readOnly, direct, unmap, options })
}

async function commit({ node, after, origin }: Change, step: PreparedReopen | undefined): Promise<void> {
  await step?.commit()
  node.reconfigure(after)
  node.origin = origin
}

/** Undoes a change because a later one failed. The later failure is the one to report. */
async function undo({ node, before, optionsBefore }: Change): Promise<void> {
  try {
    const step = await prepareDriver(node, before, optionsBefore)
    await step?.commit()
  } catch {
    // The driver can still write, but the core no longer lets it.
  }
  node.reconfigure(before)
}

async function replaceChildren({ replaced }: Change): Promise<void> {
  for (const { edge, node } of replaced) {
    const old = edge.node
    moveEdges([edge], node)
    await old.releasedBy(edge)
  }
}
