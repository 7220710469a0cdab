/** Tells which values are nodes: those made by the constructors, in any copy of the library. */
import { wrongValue } from '../base/arguments.ts'
import { shared } from '../base/shared-state.ts'
import type { BlockNode as AnyNode } from '../contract/node.ts'
import type { LinkedNode } from './links.ts'

/** All existing nodes. Not a brand on the object: it could be copied, and a false node written to. */
const nodes = shared('linked-nodes', () => new WeakMap<object, () => LinkedNode>())

/** Registers an object that is being made, with the node of the graph that it stands for: itself, or another. */
export const registerNode = (value: object, node: () => LinkedNode): void => void nodes.set(value, node)

/** Whether a value is a node, from any copy of the library. */
export const isBlockNode = (value: unknown): value is AnyNode => nodes.has(value as object)

/** The node of the graph behind what users hold, or an edge names. @throws BlockError EINVAL for anything else */
export function linkedNode(value: AnyNode): LinkedNode {
  const node = nodes.get(value)
  if (!node) throw wrongValue('node', 'a BlockNode', value)
  return node()
}

/** See {@link AnyNode}. */
export type BlockNode = AnyNode

/** For `instanceof`, which holds for nodes of every copy of this library. */
export const BlockNode = {
  [Symbol.hasInstance]: (value: unknown): value is AnyNode => isBlockNode(value),
}
