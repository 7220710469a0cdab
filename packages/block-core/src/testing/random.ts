/** Reproducible randomness: every random test starts from a seed, and prints it on failure. */

/** A seeded source of random values. */
export interface Random {
  readonly seed: number
  /** A number in [0, 1). */
  next(): number
  /** A whole number in [from, below). Exact up to 2^53. */
  int(from: number, below: number): number
  /** One of `items`, which must not be empty. */
  pick<T>(items: readonly T[]): T
  /** True with the given probability. */
  chance(probability: number): boolean
  /** That many random bytes, none of them zero, so that lost data never looks like data. */
  bytes(length: number): Uint8Array
}

/** A generator with 32 bits of state (mulberry32): equal seeds give equal sequences, on every machine. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0
  const word = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return (mixed ^ (mixed >>> 14)) >>> 0
  }
  // 53 bits: the high word, and 21 bits of a second one.
  const next = (): number => (word() * 2 ** 21 + Math.floor(word() / 2 ** 11)) / 2 ** 53
  const int = (from: number, below: number): number => from + Math.floor(next() * (below - from))
  return {
    seed,
    next,
    int,
    pick: (items) => items[int(0, items.length)]!,
    chance: (probability) => next() < probability,
    bytes(length) {
      const bytes = new Uint8Array(length)
      for (let index = 0; index < length; index++) bytes[index] = 1 + (word() % 255)
      return bytes
    },
  }
}

/** A random seed, for runs that search for new failures. */
export const freshSeed = (): number => Math.floor(Math.random() * 2 ** 32)
