/** Which values are nodes: those that were made as such, by this copy of the library or another. */
import type { BlockNode } from './node.ts'
import { shared } from './shared-state.ts'

/** All nodes there are. A brand that they carried could be copied: who passes for a node is written to. */
const nodes = shared('nodes', () => new WeakSet<object>())

/** @internal A node is being made. */
export const registerNode = (node: object): void => void nodes.add(node)

/** Whether a value is a node, of this copy of the library or of another one. */
export const isBlockNode = (value: unknown): value is BlockNode => nodes.has(value as object)
