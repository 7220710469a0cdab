/** Tells which values are nodes: those made by the constructor, in any copy of the library. */

import { shared } from '../base/shared-state.ts'
import type { BlockNode } from './node.ts'

/** All existing nodes. Not a brand on the object: it could be copied, and a false node written to. */
const nodes = shared('nodes', () => new WeakSet<object>())

/** @internal Registers a node that is being made. */
export const registerNode = (node: object): void => void nodes.add(node)

/** Whether a value is a node, from any copy of the library. */
export const isBlockNode = (value: unknown): value is BlockNode => nodes.has(value as object)
