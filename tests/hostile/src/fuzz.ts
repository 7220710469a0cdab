/** Rounds of fuzzing, each identified by one number. */
import { type BlockNode, openMemory } from '@vmblock/block-core'
import { createRandom } from '@vmblock/block-core/testing'
import { exercise, type Finding } from './exercise.ts'
import type { AllocationMeter } from './meter.ts'
import { type Hostile, mutate } from './mutate.ts'
import type { Seed } from './seeds.ts'

/** A disk that holds an image, followed by a hole. */
export async function diskOf({ bytes, fileSize }: Pick<Hostile, 'bytes' | 'fileSize'>): Promise<BlockNode> {
  const file = openMemory(bytes)
  if (fileSize > bytes.length) await file.truncate(fileSize)
  return file
}

/** One round. @returns findings, each a line or more */
export async function fuzzRound(
  seeds: readonly Seed[],
  round: number,
  meter: AllocationMeter,
): Promise<string[]> {
  const random = createRandom(round)
  const seed = random.pick(seeds)
  const hostile = mutate(seed, random)
  // Occasionally the driver is probed, as when a program is given a file.
  const driver = random.chance(0.1) ? undefined : seed.driver
  const findings = await exercise(driver, () => diskOf(hostile), meter)
  return findings.map((finding) => describe(round, seed, hostile, finding))
}

function describe(round: number, seed: Seed, { story }: Hostile, { step, what, error }: Finding): string {
  const stack = error instanceof Error ? `\n${error.stack}` : ''
  const cause = error instanceof Error && error.cause instanceof Error ? `\n${error.cause.stack}` : ''
  return `round ${round}, ${seed.name}, ${step}: ${what}\n  ${story.join('\n  ')}${stack}${cause}`
}
