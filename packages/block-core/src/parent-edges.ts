/**
 * The edges that lead to a node. Many may lead to one: what is found of each is kept, and only of those that came, went or
 * changed it is found anew.
 */
import type { BlockChild } from './child.ts'
import type { Permissions } from './driver.ts'

/** How many edges were looked at so far, by all who ask what is done with a node: what opening costs, for tests. */
export const looks = { edges: 0 }

/** A set that knows what has changed. */
export class ParentEdges extends Set<BlockChild> {
  readonly #changed = new Set<BlockChild>()
  /** What was found of each, as a number; how many there are of each number; and how many are no backing files. */
  readonly #found = new Map<BlockChild, number>()
  readonly #counts = new Map<number, number>()
  #others = 0

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

  /** All of them lead to a backing file. */
  get areBacking(): boolean {
    return this.#others === 0
  }
  /** What is done through them, each way once, as of the last {@link update}. */
  *uses(): Generator<Permissions> {
    for (const use of this.#counts.keys()) yield { taken: use >> 4, shared: use & 15 }
  }

  /** Finds anew what is done through those that came, went or changed. */
  update(find: (edge: BlockChild) => Permissions): void {
    looks.edges += this.#changed.size
    for (const edge of this.#changed) {
      const before = this.#found.get(edge)
      if (before !== undefined) this.#count(edge, before, -1)
      this.#found.delete(edge)
      if (!this.has(edge)) continue
      const { taken, shared } = find(edge)
      const use = (taken << 4) | shared
      this.#found.set(edge, use)
      this.#count(edge, use, 1)
    }
    this.#changed.clear()
  }

  #count({ role }: BlockChild, use: number, by: number): void {
    const count = (this.#counts.get(use) ?? 0) + by
    if (count > 0) this.#counts.set(use, count)
    else this.#counts.delete(use)
    if (role !== 'backing') this.#others += by
  }
}
