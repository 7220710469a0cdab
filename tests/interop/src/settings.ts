/**
 * The number of rounds, and their seeds: the same ones in every run, or fresh ones in long runs.
 * @module
 */
import { freshSeed } from '@vmblock/block-core/testing'

/** VMBLOCK_LONG=1: many more rounds, each from its own seed. */
export const LONG: boolean = process.env['VMBLOCK_LONG'] === '1'

/** VMBLOCK_SEED=n: this seed replaces all others. */
const CHOSEN = process.env['VMBLOCK_SEED']

/** Seeds of the rounds of the test called `name`: one by default. */
export function seedsOf(name: string, rounds = 1): readonly number[] {
  if (CHOSEN !== undefined) return [Number(CHOSEN)]
  if (LONG) return Array.from({ length: rounds * 8 }, freshSeed)
  let hash = 2166136261
  for (const letter of name) hash = Math.imul(hash ^ letter.charCodeAt(0), 16777619)
  return Array.from({ length: rounds }, (_, round) => (hash + round) >>> 0)
}

/** Runs `body` for every seed of a test; failures name their seed. */
export async function withSeeds(
  name: string,
  body: (seed: number) => Promise<void>,
  rounds = 1,
): Promise<void> {
  for (const seed of seedsOf(name, rounds)) {
    try {
      await body(seed)
    } catch (error) {
      if (error instanceof Error) error.message = `seed ${seed}: ${error.message}`
      throw error
    }
  }
}
