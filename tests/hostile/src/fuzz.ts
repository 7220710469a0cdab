/** Rounds of fuzzing, each identified by one number. */
import { type BlockNode, openMemory } from '@vmblock/block-core'
import { createRandom } from '@vmblock/block-core/testing'
import { exercise, type Finding } from './exercise.ts'
import { HEADER_BYTES, isQuick, luksHeaderIn } from './luks-header.ts'
import type { AllocationMeter } from './meter.ts'
import { type Hostile, mutate } from './mutate.ts'
import type { Seed } from './seeds.ts'

/** A disk that holds an image, followed by a hole. */
export async function diskOf({ bytes, fileSize }: Pick<Hostile, 'bytes' | 'fileSize'>): Promise<BlockNode> {
  const file = openMemory(bytes)
  if (fileSize > bytes.length) await file.truncate(fileSize)
  return file
}

/** Whether opening an image takes no longer than a test waits: a LUKS header may ask for minutes, which it then costs. */
export function isBearable({ key }: Seed, bytes: Uint8Array): boolean {
  const at = key ? luksHeaderIn(bytes) : -1
  return at < 0 || isQuick(bytes.subarray(at, at + HEADER_BYTES))
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
  if (!isBearable(seed, hostile.bytes)) return []
  // Occasionally the driver is probed, as when a program is given a file.
  const driver = random.chance(0.1) && !seed.key ? undefined : seed.driver
  const findings = await exercise(driver, () => diskOf(hostile), meter, undefined, 1, seed.key)
  return findings.map((finding) => describe(round, seed, hostile, finding))
}

function describe(round: number, seed: Seed, { story }: Hostile, { step, what, error }: Finding): string {
  const stack = error instanceof Error ? `\n${error.stack}` : ''
  const cause = error instanceof Error && error.cause instanceof Error ? `\n${error.cause.stack}` : ''
  return `round ${round}, ${seed.name}, ${step}: ${what}\n  ${story.join('\n  ')}${stack}${cause}`
}
