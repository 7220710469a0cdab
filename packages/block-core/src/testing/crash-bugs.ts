/** Planted bugs: a power-cut search that cannot find them proves nothing. */
import { afterEach, describe, expect, test, vi } from 'vitest'
import { huntCrashes } from './crash-explorer.ts'
import type { CrashRule } from './crash-judge.ts'
import type { CrashWorkload } from './crash-workload.ts'

/** A bug, and the rules that reveal it. */
export interface PlantedBug {
  readonly name: string
  /** One of these must be broken. */
  readonly rules: readonly CrashRule[]
  readonly workload: CrashWorkload
  /** Plants the bug in the code with vitest mocks. Absent: the bug is in the workload's disk. */
  plant?(): void
}

/** Number of states after which a bug counts as missed. */
const LONGEST_HUNT = 2000

/** Milliseconds for two hunts: on a busy machine they take minutes. */
const TIMEOUT = 600_000

/**
 * Declares a test for each bug: the search finds it, and the same number of states without it gives no
 * finding.
 *
 * @param remove removes parts of a bug that are not mocks
 */
export function plantedBugTests(bugs: readonly PlantedBug[], remove: () => void = () => undefined): void {
  const removeAll = (): void => {
    vi.restoreAllMocks()
    remove()
  }
  describe('a planted bug is found', () => {
    afterEach(removeAll)

    test.each(bugs)('$name', { timeout: TIMEOUT }, async ({ rules, workload, plant }) => {
      plant?.()
      const { states, finding } = await huntCrashes(workload, LONGEST_HUNT)
      console.log(`found after ${states} states: ${finding?.rule}`)
      expect(rules).toContain(finding?.rule)
      removeAll()
      if (plant) expect((await huntCrashes(workload, states)).finding).toBeUndefined()
    })
  })
}
