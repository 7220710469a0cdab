/** What the guided fuzzer runs. This module, with the library below it, is what is instrumented. */
import { openNode } from '@vmblock/block-core'
import { complaintAbout, environment } from '../exercise.ts'
import { diskOf } from '../fuzz.ts'
import type { Hostile } from '../mutate.ts'
import type { Seed } from '../seeds.ts'

// The loop's budget depends on the clock, and which branches run would, too.
export { neverWaitForTurns } from '@vmblock/block-core/testing'
export { exercise } from '../exercise.ts'
export { installMeter } from '../meter.ts'
export { makeSmallSeeds } from '../seeds.ts'
export { diskOf }

/** Opens an image, and nothing else. @returns what is wrong with the error, if anything */
export async function justOpen({ driver }: Seed, image: Hostile): Promise<string | undefined> {
  const file = await diskOf(image)
  try {
    await (await openNode(environment, { driver, file, 'read-only': true })).close()
    return undefined
  } catch (error) {
    return complaintAbout(error)
  } finally {
    await file.close()
  }
}
