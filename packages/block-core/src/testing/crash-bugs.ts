/** Bugs that are put in on purpose: a search for power cuts that finds none of them would prove nothing. */
import { afterEach, describe, expect, test, vi } from 'vitest'
import { huntCrashes } from './crash-explorer.ts'
import type { CrashRule } from './crash-judge.ts'
import type { CrashWorkload } from './crash-workload.ts'

/** A bug, and what tells of it. */
export interface PlantedBug {
  readonly name: string
  /** One of these must be broken. */
  readonly rules: readonly CrashRule[]
  readonly workload: CrashWorkload
  /** Puts it into the code, as mocks of vitest. Absent: it is in the disk that the workload has. */
  plant?(): void
}

/** States after which a bug counts as overlooked. */
const LONGEST_HUNT = 2000

/**
 * Declares a test for each bug: it is found, and without it as many states show nothing.
 *
 * @param remove takes out what is no mock
 */
export function plantedBugTests(bugs: readonly PlantedBug[], remove: () => void = () => undefined): void {
  const removeAll = (): void => {
    vi.restoreAllMocks()
    remove()
  }
  describe('a planted bug is found', () => {
    afterEach(removeAll)

    test.each(bugs)('$name', async ({ rules, workload, plant }) => {
      plant?.()
      const { states, finding } = await huntCrashes(workload, LONGEST_HUNT)
      console.log(`found after ${states} states: ${finding?.rule}`)
      expect(rules).toContain(finding?.rule)
      removeAll()
      if (plant) expect((await huntCrashes(workload, states)).finding).toBeUndefined()
    })
  })
}
