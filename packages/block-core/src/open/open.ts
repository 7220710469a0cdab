/** Opens a graph of nodes from options. */

import { wrongValue } from '../base/arguments.ts'
import { BlockError, blockErrorOf, isBlockError } from '../base/errors.ts'
import { loadOnce } from '../base/load-once.ts'
import type { UrlLike } from '../base/platform-types.ts'
import { type ChildKinds, cow, data, storage } from '../contract/child-kinds.ts'
import type { AnyDriver, OpenContext } from '../contract/driver.ts'
import type { CoreConfig } from '../contract/node-config.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import type { DriverNodeOptions, NodeOptions } from '../contract/node-options.ts'
import type { OpenEnvironment } from '../contract/open-environment.ts'
import { type DriverRegistry, isDriver } from '../contract/registry.ts'
import type { Disk } from '../disk/disk.ts'
import { DiskHandle } from '../disk/handle.ts'
import { childrenOf, hasBackingFiles, namesOf, takeChildValues } from '../graph/child-options.ts'
import {
  type CommonOptions,
  isProtocolLike,
  NO_PARENT,
  nodeConfig,
  splitDriverOptions,
  takeCommon,
} from '../graph/common-options.ts'
import { requireEnvironment, secretOf, tableOf } from '../graph/environment.ts'
import { claimIdentity } from '../graph/identity.ts'
import type { LinkedNode } from '../graph/links.ts'
import { GraphNode } from '../graph/node.ts'
import { updatePermissions } from '../graph/permissions.ts'
import { flattenOptions, isTree, mergeOptions, nestOptions, spelledAs } from '../text/option-tree.ts'
import { type OptionTable, parseOptions, type RawOptions } from '../text/options.ts'
import { protocolOf } from '../text/paths.ts'
import { type JsonNameReader, jsonNameReader, optionsOfName, parsePrefixed } from './filename.ts'
import { nameNode } from './node-name.ts'
import {
  type ChildDefaults,
  Children,
  EventRelay,
  type GivenChild,
  GraphBudget,
  MAX_DEPTH,
  type OpenRequest,
} from './open-context.ts'
import { type Guess, guessFormat } from './probe.ts'

/**
 * Opens a node and everything below it, and returns a handle on it. On failure, closes the nodes that were already
 * opened.
 *
 * @param options a tree, or a file name as QEMU's tools take it; a `URL` may replace a name, here and as
 *   `filename`
 * @throws BlockError that says, in QEMU's words, what could not be opened
 */
export function openNode<D extends AnyDriver>(
  environment: OpenEnvironment<D>,
  options: NodeOptions<D> | string | UrlLike,
): Promise<Disk>
/** The same with a driver as a value, which no registry needs to know. */
export function openNode<
  D extends AnyDriver,
  V extends AnyDriver,
  F extends AnyDriver = never,
  B extends AnyDriver = never,
>(environment: OpenEnvironment<D>, options: DriverNodeOptions<V, D, F, B>): Promise<Disk>
export async function openNode(
  environment: OpenEnvironment,
  options: RawOptions | string | UrlLike,
): Promise<Disk> {
  requireEnvironment(environment)
  if (typeof options !== 'string' && !(options instanceof URL) && !isTree(options))
    throw wrongValue('options', 'the options of a node, or a file name', options)
  const tree = typeof options === 'string' || options instanceof URL ? { filename: options } : options
  let disk!: Disk
  try {
    await openRoot(environment, tree, (node, writeCache) => {
      disk = new DiskHandle(node, writeCache)
    })
  } catch (error) {
    if (isBlockError(error)) error.message = spelledAs(tree, error.message)
    throw error
  }
  return disk
}

/** Opens a node that no other node has opened as its child. Without `hold`, nothing uses it yet. */
export const openRoot = (
  environment: OpenEnvironment,
  options: RawOptions,
  hold?: OpenRequest['hold'],
): Promise<LinkedNode> =>
  openRequest({
    environment,
    options,
    inherited: NO_PARENT,
    hold,
    protocol: false,
    depth: 0,
    budget: new GraphBudget(),
    chain: [],
    chainIdentities: [],
  })

/** A node's options, sorted by purpose. */
interface Plan {
  readonly common: CommonOptions
  readonly driver: AnyDriver | undefined
  readonly children: Map<string, GivenChild>
  /** The driver's options, and unknown ones among them. */
  readonly own: RawOptions
  /** Common and driver options as the user gave them, without children. */
  readonly explicit: RawOptions
  /** The file name that the driver parsed. */
  readonly filename: string | undefined
}

async function openRequest(request: OpenRequest): Promise<LinkedNode> {
  const { environment } = request
  if (request.depth > MAX_DEPTH)
    throw new BlockError('EINVAL', `The graph of nodes is more than ${MAX_DEPTH} deep`)
  const plan = await planNode(request, await jsonReaderFor(request.options['filename']))
  const config = nodeConfig(plan.common, request.inherited, plan.explicit)
  const forceShare = plan.common.forceShare ?? request.inherited.forceShare
  const autoReadOnly = plan.common.autoReadOnly ?? request.inherited.autoReadOnly
  const children = new Children(request, openRequest, plan.children)
  let name: string | undefined
  try {
    const defaults = { ...config, forceShare, autoReadOnly, driver: plan.driver }
    const { driver, file, otherFormat } = await chooseDriver(request, plan, children, defaults)
    // A file that only opens read-only makes its format read-only too, with `auto-read-only`.
    const readOnly = config.readOnly || (autoReadOnly && file?.readOnly === true)
    name = tableOf(environment).reserve(plan.common.nodeName)
    const probed = plan.driver === undefined
    const shared = { forceShare, autoReadOnly }
    const attempt: Attempt = { request, plan, driver, probed, otherFormat, name, children, file, ...shared }
    const node = await openDriver(attempt, { ...config, readOnly })
    await children.dropEarly()
    return node
  } catch (error) {
    await children.abandon()
    if (name !== undefined) tableOf(environment).release(name)
    throw error
  }
}

/** Few names are JSON, so the reader is loaded with the first such name. */
const loadJson = loadOnce('names that are JSON', () => import('../text/json.ts'))

/** @throws BlockError EIO if the code cannot be loaded */
async function jsonReaderFor(filename: unknown): Promise<JsonNameReader | undefined> {
  return typeof filename === 'string' && filename.includes('json:')
    ? jsonNameReader((await loadJson()).parseNameObject)
    : undefined
}

/** Sorts options, and turns a file name into the options it stands for. */
async function planNode(request: OpenRequest, readJson: JsonNameReader | undefined): Promise<Plan> {
  const { registry } = request.environment
  let tree = nestOptions(request.options)
  const url = tree['filename'] instanceof URL ? tree['filename'] : undefined
  if (url) tree = { ...tree, filename: registry.find('file')?.pathOfUrl?.(url) ?? url.href }
  const filename = tree['filename']
  if (!request.protocol && typeof filename === 'string' && filename.startsWith('json:')) {
    const { filename: _, ...direct } = tree
    tree = mergeOptions(optionsOfName(registry, filename, readJson), direct)
  }
  const { driver: named } = tree
  const given = isDriver(named) ? named : undefined
  if (given) tree = { ...tree, driver: given.name }
  const { common, rest } = takeCommon(tree, request.hold !== undefined)
  let driver = given ?? (common.driver === undefined ? undefined : registry.get(common.driver))
  if (!driver && request.protocol) {
    if (rest['filename'] === undefined) throw new BlockError('EINVAL', 'Must specify either driver or file')
    driver = registry.get('file')
  }
  driver = (await driver?.whole?.()) ?? driver
  if (url && driver?.takesPaths && url.protocol !== 'file:')
    throw new BlockError('EINVAL', `The '${driver.name}' block driver opens files of the host, not '${url}'`)
  const own: Record<string, unknown> = { ...rest }
  let title = request.filename
  if (driver && isProtocolLike(driver)) {
    if (request.hold || Object.keys(childrenOf(driver)).length > 0)
      title = parseOwnPrefix(registry, driver, own, readJson) ?? title
  } else if (typeof own['filename'] === 'string' && !hasOption(driver, 'filename')) {
    title = own['filename']
    // The child of a filter is probed like a user's node; that of a format is the file with its bytes.
    own['file'] = addToChild(
      own['file'],
      driver?.kind === 'filter' ? { filename: title } : optionsOfName(registry, title, readJson),
    )
    delete own['filename']
  }
  const children = takeChildren(driver, own, title)
  const explicit = { ...Object.fromEntries(Object.entries(tree).filter(([key]) => !(key in rest))), ...own }
  return {
    common,
    driver,
    children,
    own,
    explicit,
    filename: driver && isProtocolLike(driver) ? title : undefined,
  }
}

/** Handles `{driver: 'null-co', filename: 'null-co://'}`: the driver itself parses names with its prefix. */
function parseOwnPrefix(
  registry: DriverRegistry,
  driver: AnyDriver,
  own: Record<string, unknown>,
  readJson: JsonNameReader | undefined,
): string | undefined {
  const { filename } = own
  if (typeof filename !== 'string') return undefined
  const prefix = protocolOf(filename)
  const isOwn = prefix !== undefined && registry.byPrefix(prefix) === driver
  const [role] = Object.keys(driver.children ?? {})
  if (!isOwn && (role === undefined || hasOption(driver, 'filename'))) return undefined
  delete own['filename']
  // A name without the prefix names the child.
  const { driver: _, ...named } = isOwn
    ? parsePrefixed(registry, driver, filename, readJson)
    : { [role!]: { filename } }
  for (const [key, value] of Object.entries(named))
    own[key] = isTree(value) && isTree(own[key]) ? mergeOptions(value, own[key]) : (own[key] ?? value)
  return filename
}

/** Merges the child options from a file name with the child's own, which must not name another file. */
function addToChild(given: unknown, named: RawOptions): RawOptions {
  if (given === undefined) return named
  if (!isTree(given) || given['filename'] !== undefined)
    throw new BlockError('EINVAL', `Can't specify 'file' and 'filename' options at the same time`)
  return mergeOptions(named, given)
}

const hasOption = (driver: AnyDriver | undefined, key: string): boolean =>
  driver !== undefined && Object.hasOwn((driver.options as OptionTable | undefined) ?? {}, key)

/** The children of a format that is still to be probed. */
const ANY_FORMAT: ChildKinds = { file: storage, backing: cow, 'data-file': data }

/** Moves the children out of a node's options. */
function takeChildren(
  driver: AnyDriver | undefined,
  own: Record<string, unknown>,
  filename: string | undefined,
): Map<string, GivenChild> {
  const kinds = driver ? childrenOf(driver) : ANY_FORMAT
  const children = new Map<string, GivenChild>()
  for (const [role, value] of takeChildValues(kinds, own)) {
    if (typeof value === 'string' && Object.keys(own).some((key) => key.startsWith(`${role}.`)))
      throw new BlockError(
        'EINVAL',
        'Cannot reference an existing block device with additional options or a new filename',
      )
    children.set(role, { value, filename: role === 'file' ? filename : undefined })
  }
  // "No backing file" is allowed for every driver.
  if (own['backing'] === null || own['backing'] === '') delete own['backing']
  return children
}

/**
 * Determines the driver. Opens the file below first, as QEMU does, so that errors of the file are reported
 * before errors of the format.
 */
async function chooseDriver(
  request: OpenRequest,
  plan: Plan,
  children: Children,
  defaults: ChildDefaults,
): Promise<Guess & { readonly file: LinkedNode | undefined }> {
  const { driver } = plan
  const [primary] = namesOf(driver ? childrenOf(driver) : ANY_FORMAT, (kind) => kind.isPrimary)
  if (driver && (isProtocolLike(driver) || primary === undefined)) return { driver, file: undefined }
  const file = await children.openEarly(primary ?? 'file', defaults)
  if (driver) return { driver, file }
  if (!file) throw new BlockError('EINVAL', 'Must specify either driver or file')
  return { ...(await guessFormat(request.environment.registry, file)), file }
}

/** All that is known when the driver is called. */
interface Attempt {
  readonly request: OpenRequest
  readonly plan: Plan
  readonly driver: AnyDriver
  readonly probed: boolean
  readonly otherFormat: Guess['otherFormat']
  readonly name: string
  readonly children: Children
  readonly file: LinkedNode | undefined
  readonly forceShare: boolean
  readonly autoReadOnly: boolean
}

async function openDriver(attempt: Attempt, config: CoreConfig): Promise<LinkedNode> {
  const { request, plan, driver, name, children } = attempt
  const { known, unknown } = splitDriverOptions(driver, plan.own)
  const options = parseOptions((driver.options as OptionTable | undefined) ?? {}, known)
  if (driver.kind === 'protocol' && hasOption(driver, 'filename') && !options['filename'])
    throw new BlockError('EINVAL', `The '${driver.name}' block driver requires a file name`)
  const events = new EventRelay(request.environment, name)
  const filename =
    typeof known['filename'] === 'string'
      ? known['filename']
      : (attempt.file?.filename ?? plan.filename ?? '')
  let { readOnly } = config
  const call = async (): Promise<NodeOps> => {
    const context = makeContext(attempt, { ...config, readOnly }, options, events, filename)
    return driver.open(context as OpenContext<never>)
  }
  let ops: NodeOps
  try {
    ops = await call().catch((error: unknown) => {
      // QEMU's auto-read-only: a file that cannot be opened for writing is opened for reading.
      const retry = !readOnly && attempt.autoReadOnly && driver.kind === 'protocol' && isRefusal(error)
      if (!retry) throw error
      readOnly = true
      return call()
    })
  } catch (error) {
    throw blockErrorOf(error, filename ? `Could not open '${filename}'` : 'Could not open image', name)
  }
  if (!ops.write && attempt.autoReadOnly) readOnly = true
  const nodes = new Map([...children.edges].map(([role, edge]) => [role, edge.node] as const))
  const names = nameNode({
    driver,
    own: known,
    given: plan.filename,
    children: nodes,
    overridden: children.overridden,
  })
  const node = new GraphNode({
    name,
    driver,
    filename: names.filename,
    config: { ...config, readOnly },
    ops,
    children: children.edges,
  })
  const { forceShare, autoReadOnly } = attempt
  const { environment } = request
  node.origin = {
    environment,
    parent: undefined,
    role: undefined,
    full: names.full,
    forceShare,
    autoReadOnly,
  }
  tableOf(request.environment).add(node)
  events.connect(node)
  request.hold?.(node, plan.common.writeCache ?? true)
  const complaint = conflictError(node, forceShare) ?? unusedOptionError(attempt, unknown)
  if (!complaint) return node
  await node.close().catch(() => undefined)
  throw complaint
}

/** Registers the node's use of its file. @returns why the file may not be used this way, if so */
function conflictError(node: LinkedNode, forceShare: boolean): BlockError | undefined {
  try {
    if (!forceShare) claimIdentity(node)
    updatePermissions([node])
    return undefined
  } catch (error) {
    return error as BlockError
  }
}

const isRefusal = (error: unknown): boolean =>
  ['EACCES', 'EROFS', 'EPERM'].includes(String((error as { code?: unknown } | undefined)?.code))

function makeContext(
  attempt: Attempt,
  config: CoreConfig,
  options: unknown,
  events: EventRelay,
  filename: string,
): OpenContext<unknown> {
  const { driver, name, children, forceShare, autoReadOnly } = attempt
  const defaults: ChildDefaults = { ...config, forceShare, autoReadOnly, driver }
  return {
    nodeName: name,
    filename,
    readOnly: config.readOnly,
    autoReadOnly,
    checkMode: config.checkMode,
    noIo: config.noIo,
    unmap: config.unmap,
    direct: config.direct,
    forceShare,
    probed: attempt.probed,
    options,
    otherFormat: attempt.otherFormat ?? (() => undefined),
    child: (role, implicit) => children.take(name, role, implicit, defaults),
    requireChild: (role) => children.require(name, role, undefined, defaults),
    children: (list, implicit = []) => children.takeList(name, list, implicit, defaults),
    secret: (id) => secretOf(attempt.request.environment, id),
    events,
    observe: (observer) => events.observe(observer),
  }
}

/** The error for options or children that were given but not used. As in QEMU, it comes after all others. */
function unusedOptionError(attempt: Attempt, unknown: readonly string[]): BlockError | undefined {
  const { driver, plan, children } = attempt
  const untaken = [...plan.children]
    .filter(([role, { value }]) => !children.asked.has(role) && value !== null && value !== '')
    .map(([role, { value }]) =>
      isTree(value) ? (flattenOptions(value, `${role}.`).next().value?.[0] ?? role) : role,
    )
  const keys = [...unknown, ...untaken]
  const isBacking = (key: string): boolean => key === 'backing' || key.startsWith('backing.')
  if (keys.some(isBacking) && !hasBackingFiles(driver))
    return new BlockError('EINVAL', `Driver doesn't support backing files`)
  const [key] = keys
  if (key === undefined) return undefined
  return new BlockError(
    'EINVAL',
    isProtocolLike(driver)
      ? `Block protocol '${driver.name}' doesn't support the option '${key}'`
      : `Block format '${driver.name}' does not support the option '${key}'`,
  )
}
