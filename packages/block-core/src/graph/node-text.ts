/** The title of a node in messages, and its text and JSON when printed. */

import type { BlockNode } from '../contract/node.ts'
import type { NodeFacts } from '../contract/reports.ts'

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
