/**
 * The edges that lead to a node. There may be many: the permissions of each are cached, and computed again
 * only for edges that were added, removed or changed.
 */

import type { Permissions } from '../contract/permissions.ts'
import type { Edge } from './links.ts'

/** Counts the edges and nodes examined so far, here and in access.ts: the cost of opening, for tests. */
export const looks = { edges: 0 }

/** A set of edges that tracks changes. */
export class ParentEdges extends Set<Edge> {
  readonly #changed = new Set<Edge>()
  /** The permissions of each edge, as a number; the edges per number; the number of non-backing edges. */
  readonly #found = new Map<Edge, number>()
  readonly #counts = new Map<number, number>()
  #others = 0

  override add(edge: Edge): this {
    this.#changed.add(edge)
    return super.add(edge)
  }
  override delete(edge: Edge): boolean {
    this.#changed.add(edge)
    return super.delete(edge)
  }
  /** The permissions of an edge may have changed. */
  touch(edge: Edge): void {
    if (this.has(edge)) this.#changed.add(edge)
  }

  /** Whether all of them use the node as a backing file. */
  get areBacking(): boolean {
    return this.#others === 0
  }
  /** The distinct permissions of the edges, as of the last {@link update}. */
  *uses(): Generator<Permissions> {
    for (const use of this.#counts.keys()) yield { taken: use >> 4, shared: use & 15 }
  }

  /** Computes the permissions of edges that were added, removed or changed. */
  update(find: (edge: Edge) => Permissions): void {
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

  #count({ role }: Edge, use: number, by: number): void {
    const count = (this.#counts.get(use) ?? 0) + by
    if (count > 0) this.#counts.set(use, count)
    else this.#counts.delete(use)
    if (role !== 'backing') this.#others += by
  }
}
