/**
 * An edge of the node graph: how a driver reaches a child. It forwards requests until it is severed. That
 * makes a crash of the parent exact: whatever its code still does afterwards reaches no disk.
 */
import { BlockError } from '../base/errors.ts'

import type { ChildKind } from '../contract/child-kinds.ts'
import type { DebugEvent } from '../contract/debug-events.ts'
import type { BlockNode, BlockStatus } from '../contract/node.ts'
import type { BlockLimits, TruncateOptions, WriteFlags } from '../contract/requests.ts'
import type { Edge, LinkedNode, OpeningParent } from './links.ts'
import { closedError } from './node-errors.ts'

/** One parent's hold on one child node. */
export class GraphEdge implements Edge {
  readonly role: string
  readonly kind: ChildKind
  readonly parent: string
  owner: LinkedNode | undefined
  readonly opening: OpeningParent | undefined
  #node: LinkedNode
  #severed = false

  constructor(role: string, kind: ChildKind, parent: string, node: LinkedNode, opening?: OpeningParent) {
    this.role = role
    this.kind = kind
    this.opening = opening
    this.parent = parent
    this.#node = node
  }

  get node(): LinkedNode {
    return this.#node
  }
  get size(): number {
    return this.#node.size
  }
  get limits(): BlockLimits {
    return this.#node.limits
  }
  get readOnly(): boolean {
    return this.#node.readOnly
  }
  get filename(): string {
    return this.#node.filename
  }

  read(offset: number, into: Uint8Array): Promise<void> {
    if (this.#severed) return this.#refuse()
    const node = this.#node
    if (node.growable || offset + into.length <= node.size) return node.read(offset, into)
    return this.#readToEnd(node, offset, into)
  }
  write(offset: number, from: Uint8Array, flags?: WriteFlags): Promise<void> {
    return this.#severed ? this.#refuse() : this.#node.write(offset, from, flags)
  }
  writeCompressed(offset: number, from: Uint8Array): Promise<void> {
    return this.#severed ? this.#refuse() : this.#node.writeCompressed(offset, from)
  }
  writeZeroes(offset: number, bytes: number, flags?: WriteFlags): Promise<void> {
    return this.#severed ? this.#refuse() : this.#node.writeZeroes(offset, bytes, flags)
  }
  discard(offset: number, bytes: number): Promise<void> {
    return this.#severed ? this.#refuse() : this.#node.discard(offset, bytes)
  }
  flush(): Promise<void> {
    return this.#severed ? this.#refuse() : this.#node.flush()
  }
  copyRange(offset: number, bytes: number, source: BlockNode, sourceOffset: number): Promise<void> {
    return this.#severed ? this.#refuse() : this.#node.copyRange(offset, bytes, source, sourceOffset)
  }
  truncate(size: number, options?: TruncateOptions): Promise<void> {
    return this.#severed ? this.#refuse() : this.#node.truncate(size, options)
  }
  blockStatus(offset: number, bytes: number): Promise<BlockStatus> {
    return this.#severed ? this.#refuse() : this.#node.blockStatus(offset, bytes)
  }
  debugEvent(event: DebugEvent): void | Promise<void> {
    return this.#severed ? this.#refuse() : this.#node.debugEvent(event)
  }

  replace(node: LinkedNode): void {
    this.#node.parents.delete(this)
    this.#node = node
    node.parents.add(this)
    this.owner?.refresh()
  }

  sever(): void {
    this.#severed = true
  }

  async #readToEnd(node: LinkedNode, offset: number, into: Uint8Array): Promise<void> {
    const { size } = node
    const available = Math.max(0, size - offset)
    await node.read(Math.min(offset, size), into.subarray(0, available))
    into.fill(0, available)
  }

  #refuse(): Promise<never> {
    const { owner, parent } = this
    return Promise.reject(
      owner
        ? closedError(owner, true)
        : new BlockError('ECANCELED', `node '${parent}' crashed`, { node: parent }),
    )
  }
}
