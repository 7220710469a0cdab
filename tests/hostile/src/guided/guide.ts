/** The loop of a guided fuzzer: what reached something new is kept, and more is made of it. */
import { createRandom, type Random } from '@vmblock/block-core/testing'
import type { Seed } from '../seeds.ts'
import { havoc } from './havoc.ts'
import { imageOf, minimize, type Recipe, recipeOf } from './recipe.ts'

/** What a guided run works on. */
export interface GuideOptions {
  readonly seeds: readonly Seed[]
  /** How often each branch ran. */
  readonly counters: Uint32Array
  readonly numbers: readonly bigint[]
  /** Number of images, after the seeds themselves. */
  readonly runs: number
  /** Where randomness begins: equal numbers give equal runs. */
  readonly seed: number
  /** Without guidance only the seeds are changed: for comparison. */
  readonly blind?: boolean
  /** Different failures after which the run ends. Default: 20. */
  readonly enough?: number
  /** Does with an image what is to be tested. @returns what went wrong, the same words for the same fault */
  run(recipe: Recipe): Promise<string | undefined>
}

/** What came of it. */
export interface Guided {
  readonly images: number
  /** Images that were kept. */
  readonly kept: number
  /** For each branch the set of how often it ran, as powers of 2. */
  readonly reached: Uint8Array
  /** One image for each thing that went wrong. */
  readonly failures: ReadonlyMap<string, Recipe>
}

interface Kept {
  readonly recipe: Recipe
  /** The branches for which it was kept: of a seed all that it reached. */
  readonly news: readonly number[]
  /** How many branches ran, each as often as it did: what it costs, without a clock. */
  readonly work: number
  /** How often it was chosen. */
  picks: number
}

const CHILDREN = 8
/** Branches that run for many an image, in some milliseconds. */
const USUAL_WORK = 200_000

/** A bit for about how often something happened: 1, 2, 3, 4 to 7, 8 to 15, to 31, to 127, more. */
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

  /** How many images reached each branch. */
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

/** Of a few the one that reached what few others did, in little time, and was not chosen too often for it. */
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
