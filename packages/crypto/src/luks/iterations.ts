/** How often PBKDF2 hashes: as much as is worth a given time on this machine, and no more than anybody would wait for. */
import { BlockError } from '@vmblock/block-core/driver'
import { fillRandom, HASHES, type HashName, type Primitives } from '../platform/primitives.ts'
import { type LuksHeader, SALT_BYTES } from './header.ts'

/** The least that is made, as in QEMU. */
export const MIN_ITERATIONS = 1000
/** Milliseconds that opening a slot shall take if nothing else is asked for, as in QEMU. */
export const DEFAULT_ITER_TIME = 2000

/**
 * Iterations that opening a volume may take, all slots together: minutes. A header may ask for eight times four billion,
 * and what has begun cannot be ended.
 */
export const MAX_ITERATIONS = 200_000_000
/** The largest number that a header holds. */
const MAX_FIELD = 2 ** 32 - 1

/** A measurement takes at least so many milliseconds: as many as it is for, within these bounds. */
const LEAST_MS = 4
const ENOUGH_MS = 40
/** The fastest of so many counts: other programs only slow it down. */
const ROUNDS = 3

/** @throws BlockError EINVAL for a header that would keep an opening busy for hours */
export function requireBearable({ slots, digestIterations }: LuksHeader): void {
  const active = slots.filter(({ isActive }) => isActive)
  const total = active.reduce((sum, { iterations }) => sum + iterations + digestIterations, 0)
  if (total > MAX_ITERATIONS)
    throw new BlockError(
      'EINVAL',
      `The key slots ask for ${total} iterations of PBKDF2, and no more than ${MAX_ITERATIONS} are made`,
    )
}

/**
 * Measures how many blocks PBKDF2 makes in a millisecond, with one iteration each.
 *
 * @param ms milliseconds that the iterations shall take
 */
export async function pbkdf2Rate(primitives: Primitives, hash: HashName, ms: number): Promise<number> {
  const enough = Math.min(Math.max(ms, LEAST_MS), ENOUGH_MS)
  const sample = fillRandom(new Uint8Array(SALT_BYTES))
  const time = async (count: number): Promise<number> => {
    const start = performance.now()
    await primitives.pbkdf2(hash, sample, sample, count, HASHES[hash])
    return performance.now() - start
  }
  let count = MIN_ITERATIONS
  while ((await time(count)) < enough) count *= 2
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < ROUNDS; round++) best = Math.min(best, await time(count))
  return count / best
}

/**
 * Iterations that take a time.
 *
 * @param rate of {@link pbkdf2Rate}
 * @param bytes bytes of the key that is derived, block by block
 * @param ms milliseconds
 * @throws BlockError EINVAL for more than a header can ask for, in QEMU's words; for more than anybody would wait for
 */
export function iterationsIn(rate: number, hash: HashName, bytes: number, ms: number): number {
  const iterations = Math.floor((rate * ms) / Math.ceil(bytes / HASHES[hash]))
  if (iterations > MAX_FIELD)
    throw new BlockError('EINVAL', `PBKDF iterations ${iterations} larger than ${MAX_FIELD}`)
  if (iterations > MAX_ITERATIONS / 2)
    throw new BlockError(
      'EINVAL',
      `PBKDF iterations ${iterations} larger than ${MAX_ITERATIONS / 2}: nobody would wait for them`,
    )
  return Math.max(iterations, MIN_ITERATIONS)
}
