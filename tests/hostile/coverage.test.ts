/** Images bred for the code they reach do no harm, and breeding finds what chance does not. */
import { afterAll, expect, test } from 'vitest'
import type { Finding } from './src/exercise.ts'
import { type GuideOptions, guide } from './src/guided/guide.ts'
import { instrument } from './src/guided/instrument.ts'
import { describeRecipe, imageOf, type Recipe } from './src/guided/recipe.ts'
import { startWatchdog } from './src/watchdog.ts'

/** COVERAGE_RUNS: number of images; COVERAGE_SEED: seed of the randomness. */
const RUNS = Number(process.env['COVERAGE_RUNS'] ?? 400)
const SEED = Number(process.env['COVERAGE_SEED'] ?? 1)

type Target = typeof import('./src/guided/target.ts')

const { module, counters, branches, numbers } = await instrument<Target>('target.ts')
module.neverWaitForTurns()
const seeds = await module.makeSmallSeeds()
const meter = module.installMeter()
const watchdog = startWatchdog()
const unhandled: unknown[] = []
const onUnhandled = (error: unknown): void => void unhandled.push(error)
process.on('unhandledRejection', onUnhandled)
const { stackTraceLimit } = Error
afterAll(() => {
  Error.stackTraceLimit = stackTraceLimit
  process.off('unhandledRejection', onUnhandled)
  watchdog.stop()
  meter.remove()
})

const inWords = ({ step, what }: Finding): string => `${step}: ${what.replace(/\d+/g, '#')}`

let images = 0
async function run(recipe: Recipe): Promise<string | undefined> {
  const image = imageOf(recipe)
  watchdog.enter(++images, describeRecipe(recipe))
  const { driver, key } = recipe.seed
  if (!module.isBearable(recipe.seed, image.bytes)) return undefined
  // An image without a format is probed.
  const named = driver === 'raw' ? undefined : driver
  const [first] = await module.exercise(named, () => module.diskOf(image), meter, undefined, 1, key)
  await new Promise((resolve) => setImmediate(resolve))
  if (unhandled.length > 0) return `unhandled rejection: ${String(unhandled.splice(0)[0])}`
  return first && inWords(first)
}

test(`${RUNS} images bred from seed ${SEED} do no harm`, { timeout: 0 }, async () => {
  Error.stackTraceLimit = 0
  const options: GuideOptions = { seeds, counters, numbers, runs: RUNS, seed: SEED, run }
  const start = performance.now()
  const { images, kept, reached, failures } = await guide(options)
  const perSecond = (images / (performance.now() - start)) * 1000
  console.log(`counted ${images} images: guided by coverage`)
  console.log(`${kept} kept, ${perSecond.toFixed(0)} a second, branches reached: ${coverage(reached)}`)
  expect([...failures].map(([what, recipe]) => `${what}\n${describeRecipe(recipe)}`).join('\n\n')).toBe('')
})

/** Counts the reached branches of each package. */
function coverage(reached: Uint8Array): string {
  const counts = new Map<string, [number, number]>()
  branches.forEach((branch, index) => {
    const name = /packages\/(.+?)\//.exec(branch)![1]!
    const count = counts.get(name) ?? [0, 0]
    counts.set(name, [count[0] + (reached[index] === 0 ? 0 : 1), count[1] + 1])
  })
  return [...counts].map(([name, [some, all]]) => `${name} ${some} of ${all}`).join(', ')
}

/** Plants a fault behind four conditions, each of which is a branch. */
function plant(path: string, source: string): string {
  if (!path.endsWith('qcow2/src/format/header.ts')) return source
  const before = '  const l1Needed ='
  const condition = 'v3.refcountOrder < 4 && v2.l1Size > 99 && v3.compatible > 99n && v2.nbSnapshots > 9'
  expect(source).toContain(before)
  return source.replace(before, `if (${condition}) throw new TypeError('planted')\n${before}`)
}

test('breeding finds a fault behind several conditions, where as many of chance do not', {
  timeout: 0,
}, async () => {
  Error.stackTraceLimit = 0
  const { module, counters, numbers } = await instrument<Target>('target.ts', plant)
  module.neverWaitForTurns()
  const seeds = (await module.makeSmallSeeds()).filter(({ name }) => name === 'tiny' || name === 'tiny, old')
  const run = (recipe: Recipe) => module.justOpen(recipe.seed, imageOf(recipe))
  let bred = 0
  let failures: string[] = []
  // About one seed in four finds it; which ones do changes with every branch in the code. The first is one that does.
  for (let seed = 13; seed <= 36 && failures.length === 0; seed++) {
    const found = await guide({ seeds, counters, numbers, runs: 5000, seed, enough: 1, run })
    bred += found.images
    failures = [...found.failures.keys()]
  }
  expect(failures).toEqual([expect.stringContaining('planted')])
  const chance = await guide({ seeds, counters, numbers, runs: bred, seed: 1, blind: true, enough: 1, run })
  expect(chance.failures.size).toBe(0)
  expect(chance.images).toBeGreaterThanOrEqual(bred)
})
