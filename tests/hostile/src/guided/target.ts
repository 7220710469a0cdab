/** The code that the guided fuzzer runs. This module, with the library below it, is instrumented. */
import { openNode } from '@vmblock/block-core'
import { complaintAbout, environment } from '../exercise.ts'
import { diskOf, isBearable } from '../fuzz.ts'
import type { Hostile } from '../mutate.ts'
import type { Seed } from '../seeds.ts'

// The loop's budget depends on the clock, and with it the branches that run.
export { neverWaitForTurns } from '@vmblock/block-core/testing'
export { exercise } from '../exercise.ts'
export { installMeter } from '../meter.ts'
export { makeSmallSeeds } from '../seeds.ts'
export { diskOf, isBearable }

/** Opens an image, and nothing else. @returns what is wrong with the error, if anything */
export async function justOpen({ driver, key }: Seed, image: Hostile): Promise<string | undefined> {
  const file = await diskOf(image)
  try {
    await (await openNode(environment, { driver, file, readOnly: true, ...key })).close()
    return undefined
  } catch (error) {
    return complaintAbout(error)
  } finally {
    await file.close()
  }
}
