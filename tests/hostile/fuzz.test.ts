/** Damaged images end in success or in a readable error, in bounded time and memory. */
import { afterAll, expect, test } from 'vitest'
import { fuzzRound } from './src/fuzz.ts'
import { installMeter } from './src/meter.ts'
import { makeSeeds } from './src/seeds.ts'
import { startWatchdog } from './src/watchdog.ts'

/** HOSTILE_RUNS: number of rounds; HOSTILE_SEED: number of the first round. */
const RUNS = Number(process.env['HOSTILE_RUNS'] ?? 60)
const FIRST = Number(process.env['HOSTILE_SEED'] ?? 1)

const seeds = await makeSeeds()
const meter = installMeter()
const watchdog = startWatchdog()
const unhandled: unknown[] = []
const onUnhandled = (error: unknown): void => void unhandled.push(error)
process.on('unhandledRejection', onUnhandled)
afterAll(() => {
  process.off('unhandledRejection', onUnhandled)
  watchdog.stop()
  meter.remove()
})

test(`${RUNS} hostile images from number ${FIRST} on do no harm`, { timeout: 0 }, async () => {
  const findings: string[] = []
  let images = 0
  for (let round = FIRST; round < FIRST + RUNS && findings.length < 40; round++) {
    watchdog.enter(round)
    images++
    findings.push(...(await fuzzRound(seeds, round, meter)))
    await new Promise((resolve) => setImmediate(resolve))
    for (const error of unhandled.splice(0))
      findings.push(`round ${round}: unhandled rejection: ${String(error)}`)
  }
  console.log(`counted ${images} images: mutated`)
  expect(findings.join('\n\n')).toBe('')
})
