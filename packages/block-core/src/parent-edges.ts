/**
 * The edges that lead to a node. Many may lead to one: what is found of each is kept, and only of those that came, went or
 * changed it is found anew.
 */
import type { BlockChild } from './child.ts'

/** How many edges were looked at so far, by all who ask what is done with a node: what opening costs, for tests. */
export const looks = { edges: 0 }

/** A set that knows what has changed. */
export class ParentEdges extends Set<BlockChild> {
  readonly #changed = new Set<BlockChild>()

  override add(edge: BlockChild): this {
    this.#changed.add(edge)
    return super.add(edge)
  }
  override delete(edge: BlockChild): boolean {
    this.#changed.add(edge)
    return super.delete(edge)
  }
  /** What is done through an edge may have changed. */
  touch(edge: BlockChild): void {
    if (this.has(edge)) this.#changed.add(edge)
  }

  /** Those that came, went or changed since this was last called. */
  takeChanged(): BlockChild[] {
    const changed = [...this.#changed]
    this.#changed.clear()
    looks.edges += changed.length
    return changed
  }
}
