/** Declares crash workloads as tests, which print how many states they examined. */
import { describe, expect, test } from 'vitest'
import { exploreCrashes, findingText } from './crash-explorer.ts'
import type { CrashWorkload } from './crash-workload.ts'

/**
 * Environment variables: `CRASH_SEED`, the first seed (default 1), and `CRASH_SCALE`, the number of seeds
 * (default 1). A long run can be split into disjoint ranges of seeds, which give different states.
 */
export type CrashEnvironment = Readonly<Record<string, string | undefined>>

/** An hour, in milliseconds: with many seeds a test takes a long time. */
const TIMEOUT = 3_600_000

/** Declares a test for each workload. */
export function crashTests(title: string, workloads: readonly CrashWorkload[], env: CrashEnvironment): void {
  const first = Number(env['CRASH_SEED'] ?? 1)
  const seeds = Math.max(1, Math.round(Number(env['CRASH_SCALE'] ?? 1)))
  describe(`power cuts, ${title}`, () => {
    for (const workload of workloads) {
      test(workload.name, { timeout: TIMEOUT }, async () => {
        const seen = new Set<number>()
        let states = 0
        for (let seed = first; seed < first + seeds; seed++) {
          const result = await exploreCrashes(workload, { seed, seen })
          states += result.states
          expect(result.finding && findingText(result.finding), `seed ${seed}`).toBeUndefined()
        }
        console.log(`counted ${states} states: ${title}, ${workload.name}`)
      })
    }
  })
}
