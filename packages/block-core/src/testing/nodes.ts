/** Opens nodes without a registry, an ImageResolver or textual options: the base of unit tests of drivers. */

import { BlockError } from '../base/errors.ts'
import { type ChildKind, type ChildKinds, cow, data, filtered, storage } from '../contract/child-kinds.ts'
import type { AnyDriver, BlockDriver, OpenContext } from '../contract/driver.ts'
import type { DriverFacts } from '../contract/driver-facts.ts'
import type { BlockNode } from '../contract/node.ts'
import type { CoreConfig } from '../contract/node-config.ts'
import { PLAIN_CONFIG } from '../contract/node-config.ts'
import type { NodeOps } from '../contract/node-ops.ts'
import { DiskHandle } from '../disk/handle.ts'
import { childrenOf, kindOf } from '../graph/child-options.ts'
import { GraphEdge } from '../graph/edge.ts'
import { secretOf } from '../graph/environment.ts'
import { linkedNode } from '../graph/known-nodes.ts'
import type { Edge, LinkedNode } from '../graph/links.ts'
import { GraphNode } from '../graph/node.ts'
import type { NodeInit } from '../graph/node-base.ts'
import { type OptionTable, type OptionValues, parseOptions, type RawOptions } from '../text/options.ts'

/** The options of a test node. */
export interface TestNodeOptions {
  readonly name?: string
  /** Options of the driver, in either spelling. */
  readonly options?: RawOptions
  readonly children?: Readonly<Record<string, BlockNode>>
  readonly config?: Partial<CoreConfig> & {
    /** Off: the node comes behind a handle that makes each write durable. */
    readonly writeCache?: boolean
  }
  /** The driver was guessed from the content. Default: no. */
  readonly probed?: boolean
  /** Default: nothing looks like another format. */
  otherFormat?(head: Uint8Array, tail: Uint8Array): string | undefined
}

/** Opens a node of `driver` on children that are already open. */
export async function openTestNode<O extends OptionTable, C extends OptionTable>(
  driver: BlockDriver<O, C>,
  {
    name = driver.name,
    options = {},
    children = {},
    config: { writeCache = true, ...changes } = {},
    probed = false,
    otherFormat = () => undefined,
  }: TestNodeOptions = {},
): Promise<BlockNode> {
  const config: CoreConfig = { ...PLAIN_CONFIG, ...changes }
  const edges = edgesOf(name, children, driver)
  let node: LinkedNode | undefined
  const early: ((opened: LinkedNode) => void)[] = []
  const tell = (what: (opened: LinkedNode) => void): void => {
    if (node) what(node)
    else early.push(what)
  }
  const context: OpenContext<OptionValues<O>> = {
    nodeName: name,
    filename: '',
    readOnly: config.readOnly,
    autoReadOnly: false,
    checkMode: config.checkMode,
    noIo: config.noIo,
    unmap: config.unmap,
    direct: config.direct,
    forceShare: false,
    probed,
    otherFormat,
    options: parseOptions(driver.options ?? ({} as O), options),
    child: async (role) => edges.get(role),
    async requireChild(role) {
      const edge = edges.get(role)
      if (!edge) throw new BlockError('EINVAL', `A block device must be specified for "${role}"`)
      return edge
    },
    secret: (id) => secretOf(undefined, id),
    children: async (list) => [...edges.values()].filter(({ role }) => role.startsWith(`${list}.`)),
    observe(observer) {
      let end: (() => void) | undefined
      tell((opened) => {
        end = opened.observe(observer)
      })
      return () => end?.()
    },
    events: {
      corrupt: (event) => tell((opened) => opened.markCorrupt(event)),
      repair: (report) => tell((opened) => opened.emit('repair', report)),
      warn: (line) => tell((opened) => opened.emit('warn', line)),
    },
  }
  const ops = await driver.open(context)
  const opened = new GraphNode({ name, driver, filename: '', config, ops, children: edges })
  node = opened
  for (const what of early) what(opened)
  return writeCache ? opened : new DiskHandle(opened, false)
}

/** Makes a node with hand-written operations: for tests of the core itself. */
export function nodeOf(
  ops: NodeOps,
  {
    name = 'test',
    children = {},
    config = {},
  }: Pick<TestNodeOptions, 'name' | 'children'> & { readonly config?: Partial<CoreConfig> } = {},
  kind: AnyDriver['kind'] = 'protocol',
): LinkedNode {
  const driver: AnyDriver = { name, kind, open: () => Promise.resolve(ops) }
  return new GraphNode({
    name,
    driver,
    filename: '',
    config: { ...PLAIN_CONFIG, ...config },
    ops,
    children: edgesOf(name, children, driver),
  })
}

/** Makes a node from its parts. */
export const makeNode = (init: NodeInit): LinkedNode => new GraphNode(init)

/** An edge to a node that belongs to no node above. */
export const edgeTo = (
  node: BlockNode,
  role = 'file',
  parent = 'test',
  kind: ChildKind = USUAL[role] ?? storage,
): Edge => new GraphEdge(role, kind, parent, linkedNode(node))

/** The usual children, for drivers that declare none. */
const USUAL: ChildKinds = { file: storage, backing: cow, 'data-file': data, image: filtered }

function edgesOf(
  parent: string,
  children: Readonly<Record<string, BlockNode>>,
  driver: DriverFacts,
): Map<string, Edge> {
  const kindFor = (role: string): ChildKind | undefined => kindOf(childrenOf(driver), role)
  return new Map(
    Object.entries(children).map(([role, node]) => [role, edgeTo(node, role, parent, kindFor(role))]),
  )
}

/** The whole content of a node, in memory. */
export async function toBytes(node: BlockNode): Promise<Uint8Array> {
  const bytes = new Uint8Array(node.size)
  for (let at = 0; at < bytes.length; at += 2 ** 20) await node.read(at, bytes.subarray(at, at + 2 ** 20))
  return bytes
}
