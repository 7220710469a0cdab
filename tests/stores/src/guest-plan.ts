/** The requests of a guest that will be killed, planned beforehand, since a killed worker reports nothing. */
import { createRandom, type Shown } from '@vmblock/block-core/testing'

/** Bytes of a sector: written as a whole or not at all. */
export const SECTOR = 512

/** One request. Offsets and lengths in bytes, multiples of a sector. */
export type Step =
  | { readonly kind: 'flush' }
  | {
      readonly kind: 'write' | 'zero'
      readonly offset: number
      readonly bytes: number
      /** Distinguishes its sectors from all others; 0: zeroes. */
      readonly stamp: number
    }

/** The life of a guest. The page and the worker derive the same requests from it. */
export interface Plan {
  readonly seed: number
  /** Bytes of the disk. */
  readonly size: number
  /** Bytes of a cluster: some writes are of whole clusters. */
  readonly cluster: number
  /** Number of requests. */
  readonly count: number
  /** Its stamps are above this one. */
  readonly stampsFrom: number
}

/** Returns the requests of a plan, in order. A request that overlaps an earlier one starts after it. */
export function stepsOf({ seed, size, cluster, count, stampsFrom }: Plan): Step[] {
  const random = createRandom(seed)
  return Array.from({ length: count }, (_, index) => {
    if (random.chance(0.12)) return { kind: 'flush' }
    const unit = random.chance(0.3) ? cluster : SECTOR
    const offset = random.int(0, size / unit) * unit
    const bytes = Math.min(unit * random.int(1, unit === SECTOR ? 24 : 4), size - offset)
    return random.chance(0.8)
      ? { kind: 'write', offset, bytes, stamp: stampsFrom + index + 1 }
      : { kind: 'zero', offset, bytes, stamp: 0 }
  })
}

/**
 * Returns what is wrong with the contents of a disk after the guest was killed; undefined: nothing. Each
 * sector holds what the last flush that was reported left, or what any later request may have written.
 *
 * @param before what the disk showed when the guest began
 * @param flushed how many of the requests, from the first, are durable
 */
export function wrongIn(
  { size, stamps }: Shown,
  before: Shown,
  steps: readonly Step[],
  flushed: number,
): string | undefined {
  if (size !== before.size) return `its size is ${size}, not ${before.size}`
  const allowed = Array.from(stamps, (_, sector) => new Set([before.stamps[sector] ?? 0]))
  for (const [index, step] of steps.entries()) {
    if (step.kind === 'flush') continue
    for (let sector = step.offset / SECTOR; sector < (step.offset + step.bytes) / SECTOR; sector++) {
      if (index < flushed) allowed[sector]!.clear()
      allowed[sector]!.add(step.stamp)
    }
  }
  const wrong = stamps.findIndex((stamp, sector) => !allowed[sector]!.has(stamp))
  if (wrong < 0) return undefined
  return `sector ${wrong} shows #${stamps[wrong]}, not one of #${[...allowed[wrong]!].join(', #')}`
}
