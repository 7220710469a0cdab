/**
 * The uses of one thing (of a node by its parents, of a file by its nodes), each with permissions. There may be
 * many: the permissions of each are remembered, computed again only for uses that were added or changed, and
 * compared by their few distinct values.
 */

import { ALL_PERMISSIONS, type Permissions } from '../contract/permissions.ts'

/** Counts the uses examined so far: the cost of opening, for tests. */
export const looks = { uses: 0 }

/** The use of nothing. */
export const UNUSED: Permissions = { taken: 0, shared: ALL_PERMISSIONS }

/** A use that takes what another does not share. */
export interface Conflict<T> {
  readonly taker: T
  readonly sharer: T
  /** What the one takes and the other does not share: bits of `PERMISSION`. */
  readonly bits: number
}

/** The permissions of a use as one number, for counting. */
type Packed = number

const pack = ({ taken, shared }: Permissions): Packed => (taken << 4) | shared
const takenOf = (use: Packed): number => use >> 4
const sharedOf = (use: Packed): number => use & ALL_PERMISSIONS

/** A set of users that tracks changes. */
export class Uses<T> implements Iterable<T> {
  /** Every user, oldest first; undefined until its permissions are computed. */
  readonly #found = new Map<T, Packed | undefined>()
  readonly #changed = new Set<T>()
  /** Those whose permissions were computed since the last search for a conflict that found none. */
  readonly #unchecked = new Set<T>()
  readonly #counts = new Map<Packed, number>()
  /** Bits that no two users may take, whatever they share. */
  readonly #exclusive: number

  constructor(exclusive = 0) {
    this.#exclusive = exclusive
  }

  get size(): number {
    return this.#found.size
  }
  has(user: T): boolean {
    return this.#found.has(user)
  }
  [Symbol.iterator](): IterableIterator<T> {
    return this.#found.keys()
  }

  add(user: T): void {
    if (!this.has(user)) this.#found.set(user, undefined)
    this.#changed.add(user)
  }
  delete(user: T): void {
    this.#count(this.#found.get(user), -1)
    this.#found.delete(user)
    this.#changed.delete(user)
    this.#unchecked.delete(user)
  }
  /** The permissions of a user may have changed. */
  touch(user: T): void {
    if (this.has(user)) this.#changed.add(user)
  }

  /** Computes the permissions of users that were added or changed. */
  update(find: (user: T) => Permissions): void {
    looks.uses += this.#changed.size
    for (const user of this.#changed) {
      this.#count(this.#found.get(user), -1)
      const use = pack(find(user))
      this.#found.set(user, use)
      this.#count(use, 1)
      this.#unchecked.add(user)
    }
    this.#changed.clear()
  }

  /** Everything that some user takes, and what all of them share. */
  total(): Permissions {
    let [taken, shared] = [0, ALL_PERMISSIONS]
    for (const use of this.#counts.keys()) {
      taken |= takenOf(use)
      shared &= sharedOf(use)
    }
    return { taken, shared }
  }

  /** A user that takes some of these permissions, as of the last {@link update}. */
  taker(unshared: number): Pick<Conflict<T>, 'taker' | 'bits'> | undefined {
    for (const [taker, use = 0] of this.#found) {
      const bits = takenOf(use) & unshared
      if (bits !== 0) return { taker, bits }
    }
    return undefined
  }

  /**
   * A conflict of a user that was added or changed with another, as of the last {@link update}. Where both are in
   * the way of each other, the changed one is the taker: it is the one that asked.
   */
  conflict(): Conflict<T> | undefined {
    for (const user of [...this.#unchecked].reverse()) {
      const own = this.#found.get(user)!
      for (const [use, count] of this.#counts) {
        const [takes, gives] = [this.#bits(own, use), this.#bits(use, own)]
        if ((use === own && count === 1) || (takes | gives) === 0) continue
        for (const [other, otherUse] of this.#found)
          if (otherUse === use && other !== user)
            return takes > 0
              ? { taker: user, sharer: other, bits: takes }
              : { taker: other, sharer: user, bits: gives }
      }
    }
    this.#unchecked.clear()
    return undefined
  }

  /** What `taker` takes and `sharer` does not share. */
  #bits(taker: Packed, sharer: Packed): number {
    return takenOf(taker) & (~sharedOf(sharer) | (takenOf(sharer) & this.#exclusive))
  }

  #count(use: Packed | undefined, by: number): void {
    if (use === undefined) return
    const count = (this.#counts.get(use) ?? 0) + by
    if (count > 0) this.#counts.set(use, count)
    else this.#counts.delete(use)
  }
}
