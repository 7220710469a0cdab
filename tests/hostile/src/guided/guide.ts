/** The loop of a guided fuzzer: keeps images that reach something new, and derives more from them. */
import { createRandom, type Random } from '@vmblock/block-core/testing'
import type { Seed } from '../seeds.ts'
import { havoc } from './havoc.ts'
import { imageOf, minimize, type Recipe, recipeOf } from './recipe.ts'

/** The input of a guided run. */
export interface GuideOptions {
  readonly seeds: readonly Seed[]
  /** Number of times each branch ran. */
  readonly counters: Uint32Array
  readonly numbers: readonly bigint[]
  /** Number of images, after the seeds themselves. */
  readonly runs: number
  /** Seed of the randomness: equal seeds give equal runs. */
  readonly seed: number
  /** Without guidance only the seeds are changed: for comparison. */
  readonly blind?: boolean
  /** Number of different failures after which the run ends. Default: 20. */
  readonly enough?: number
  /** Tests an image. @returns what went wrong, in the same words for the same fault */
  run(recipe: Recipe): Promise<string | undefined>
}

/** The result of a guided run. */
export interface Guided {
  readonly images: number
  /** Number of images that were kept. */
  readonly kept: number
  /** For each branch, the set of its counts in a run, as powers of 2. */
  readonly reached: Uint8Array
  /** One image for each failure. */
  readonly failures: ReadonlyMap<string, Recipe>
}

interface Kept {
  readonly recipe: Recipe
  /** The branches for which it was kept: for a seed, all that it reached. */
  readonly news: readonly number[]
  /** Branch executions: the cost of the image, measured without a clock. */
  readonly work: number
  /** Number of times it was picked. */
  picks: number
}

const CHILDREN = 8
/** Branch executions of a typical image, in some milliseconds. */
const USUAL_WORK = 200_000

/** A bit for a range of counts: 1, 2, 3, 4 to 7, 8 to 15, to 31, to 127, more. */
const bucket = (count: number): number =>
  count < 4 ? 1 << (count - 1) : count < 32 ? 2 << (31 - Math.clz32(count)) : count < 128 ? 64 : 128

/** Runs images until `runs` is reached. */
export async function guide(options: GuideOptions): Promise<Guided> {
  const { seeds, counters, numbers, runs, blind = false, enough = 20 } = options
  const random = createRandom(options.seed)
  const queue: Kept[] = []
  const reached = new Uint8Array(counters.length)
  const failures = new Map<string, Recipe>()
  let images = 0

  /** Number of images that reached each branch. */
  const hits = new Uint32Array(counters.length)
  /** Reads the counters. */
  const look = (isSeed: boolean): Pick<Kept, 'news' | 'work'> => {
    const news: number[] = []
    let work = 0
    for (let i = 0; i < counters.length; i++) {
      if (counters[i] === 0) continue
      work += counters[i]!
      hits[i]!++
      const bit = bucket(counters[i]!)
      if (isSeed || (reached[i]! & bit) === 0) news.push(i)
      reached[i]! |= bit
    }
    return { news, work }
  }
  const run = async (recipe: Recipe, isSeed = false): Promise<void> => {
    images++
    counters.fill(0)
    const failure = await options.run(recipe)
    const { news, work } = look(isSeed)
    if (failure === undefined) {
      if (news.length > 0) queue.push({ recipe, news, work, picks: 0 })
      return
    }
    if (failures.has(failure)) return
    const failsSo = async (smaller: Recipe): Promise<boolean> => (await options.run(smaller)) === failure
    failures.set(failure, await minimize(recipe, failsSo))
  }

  for (const seed of seeds)
    await run(recipeOf(seed, { bytes: seed.bytes, fileSize: seed.bytes.length }), true)
  const pool = blind ? [...queue] : queue
  const pantry = { numbers, other: () => imageOf(random.pick(pool).recipe).bytes }
  for (const end = images + runs; images < end && failures.size < enough; ) {
    const parent = pick(pool, hits, random)
    parent.picks++
    const image = imageOf(parent.recipe)
    const { seed } = parent.recipe
    for (let child = 0; child < CHILDREN && images < end; child++)
      await run(recipeOf(seed, havoc(seed, image, random, pantry)))
  }
  return { images, kept: queue.length, reached, failures }
}

/** Picks the best of a few images: one that reached rare branches, is cheap, and was seldom picked. */
function pick(queue: readonly Kept[], hits: Uint32Array, random: Random): Kept {
  const cost = ({ news, work, picks }: Kept): number =>
    (1 + picks) * (1 + work / USUAL_WORK) * Math.min(...news.map((branch) => hits[branch]!))
  let best = random.pick(queue)
  for (let tries = 0; tries < 4; tries++) {
    const other = random.pick(queue)
    if (cost(other) < cost(best)) best = other
  }
  return best
}
