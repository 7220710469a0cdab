/** The title of a node in messages, and its text and JSON when printed. */
import { EventEmitter } from 'eventemitter3'
import { isBlockNode } from './known-nodes.ts'
import type { BlockNode } from './node.ts'
import type { NodeEvents } from './node-events.ts'

/** The method with which Node.js, and consoles like its own, print an object. */
export const INSPECT: unique symbol = Symbol.for('nodejs.util.inspect.custom') as never

/**
 * The title of a node: its file, else the node name the user gave, else its driver and what it is stored in
 * (`'disk.qcow2'`, `node 'scratch'`, `qcow2 in memory`).
 */
export function nodeTitle({ name, filename, driver, file }: BlockNode): string {
  if (filename !== '' && !filename.startsWith('json:')) return `'${filename}'`
  // Names with `#` are generated.
  if (!name.startsWith('#')) return `node '${name}'`
  return file ? `${driver.name} in ${nodeTitle(file.node)}` : driver.name
}

/** Facts of a node, as plain data. */
export interface NodeFacts {
  readonly driver: string
  readonly filename: string
  readonly name: string
  /** Bytes. */
  readonly size: number
  readonly readOnly: boolean
  readonly state: string
  /** File name of the backing file that is open. */
  readonly backing?: string
}

/** The facts of a node in `state`. */
export function nodeFacts(node: BlockNode, state: string): NodeFacts {
  const { driver, filename, name, size, readOnly, backing } = node
  const facts = { driver: driver.name, filename, name, size, readOnly, state }
  return backing ? { ...facts, backing: backing.filename } : facts
}

/** The facts as text of two or three lines, for display. */
export function nodeText(node: BlockNode, state: string): string {
  const { driver, size, readOnly, file, backing } = node
  return [
    `BlockNode ${nodeTitle(node)}`,
    `  ${driver.name}, ${size} bytes, ${state}${readOnly ? ', read-only' : ''}`,
    ...(file || backing
      ? [
          `  ${[...node.children].map(([role, { node }]) => `${role}: ${nodeTitle(node)} (${node.driver.name})`).join(', ')}`,
        ]
      : []),
  ].join('\n')
}

/** The part of a node that describes it. */
export abstract class DescribedNode extends EventEmitter<NodeEvents> {
  protected abstract get state(): string

  static override [Symbol.hasInstance](value: unknown): boolean {
    return isBlockNode(value)
  }

  /** The title that messages use: see {@link nodeTitle}. */
  override toString(): string {
    return nodeTitle(this as unknown as BlockNode)
  }
  /** For `JSON.stringify`: the facts of the node, not its internals. */
  toJSON(): NodeFacts {
    return nodeFacts(this as unknown as BlockNode, this.state)
  }
  [INSPECT](): string {
    return nodeText(this as unknown as BlockNode, this.state)
  }
}
