/** What a node is called in messages, and what it says of itself where somebody prints it. */
import { EventEmitter } from 'eventemitter3'
import { isBlockNode } from './known-nodes.ts'
import type { BlockNode } from './node.ts'
import type { NodeEvents } from './node-events.ts'

/** The method by which Node, and consoles like its own, print an object. */
export const INSPECT: unique symbol = Symbol.for('nodejs.util.inspect.custom') as never

/**
 * A node as people know it: by its file, else by the name that was given to it, else by what it is made of (`'disk.qcow2'`,
 * `node 'scratch'`, `qcow2 in memory`).
 */
export function nodeTitle({ name, filename, driver, file }: BlockNode): string {
  if (filename !== '' && !filename.startsWith('json:')) return `'${filename}'`
  // The others were made up by the environment.
  if (!name.startsWith('#')) return `node '${name}'`
  return file ? `${driver.name} in ${nodeTitle(file.node)}` : driver.name
}

/** What a node is, as plain data. */
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

/** The facts of a node that is in `state`. */
export function nodeFacts(node: BlockNode, state: string): NodeFacts {
  const { driver, filename, name, size, readOnly, backing } = node
  const facts = { driver: driver.name, filename, name, size, readOnly, state }
  return backing ? { ...facts, backing: backing.filename } : facts
}

/** The same in three lines, for people. */
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

/** The part of a node that tells what it is. */
export abstract class DescribedNode extends EventEmitter<NodeEvents> {
  protected abstract get state(): string

  static override [Symbol.hasInstance](value: unknown): boolean {
    return isBlockNode(value)
  }

  /** As messages call it: the file, else what the node is. */
  override toString(): string {
    return nodeTitle(this as unknown as BlockNode)
  }
  /** For `JSON.stringify`: what the node is, not what it is made of. */
  toJSON(): NodeFacts {
    return nodeFacts(this as unknown as BlockNode, this.state)
  }
  [INSPECT](): string {
    return nodeText(this as unknown as BlockNode, this.state)
  }
}
