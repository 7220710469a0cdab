/** Images that once did harm do none. */
import { afterAll, expect, test } from 'vitest'
import { CORPUS, imageOf } from './src/corpus.ts'
import { TABLES } from './src/corpus-tables.ts'
import { exercise } from './src/exercise.ts'
import { diskOf } from './src/fuzz.ts'
import { installMeter } from './src/meter.ts'
import { makeOwnSeeds } from './src/seeds.ts'

const seeds = await makeOwnSeeds()
const meter = installMeter()
afterAll(() => meter.remove())

test.each([...CORPUS, ...TABLES])('$name', async (one) => {
  const seed = seeds.find(({ name }) => name === one.seed)!
  const image = imageOf(one, seed.bytes)
  const findings = await exercise(seed.driver, () => diskOf(image), meter)
  expect(findings).toEqual([])
})
