/** Generates the requests of a seed: of every kind, close together, so that they overlap. */
import { alignDown } from '../base/bits.ts'
import { createRandom, type Random } from './random.ts'

/** A request of a run. Offsets and lengths in bytes, multiples of the run's sector. */
export type ConcurrentRequest =
  /** Stamp 0 stands for data that is all zeroes. */
  | {
      readonly kind: 'write'
      readonly offset: number
      readonly length: number
      readonly stamp: number
      readonly fua: boolean
    }
  | { readonly kind: 'zero'; readonly offset: number; readonly length: number; readonly mayUnmap: boolean }
  | { readonly kind: 'read' | 'discard' | 'status'; readonly offset: number; readonly length: number }
  | { readonly kind: 'resize'; readonly size: number }
  | { readonly kind: 'flush' }
  /** One of the run's own verbs, by its name. */
  | { readonly kind: 'verb'; readonly name: string; readonly seed: number }

/** Parameters for generating requests. */
export interface PlanSettings {
  readonly seed: number
  readonly requests: number
  /** The unit of atomicity, in bytes; requests consist of whole sectors. */
  readonly sector: number
  /** Bytes whose multiples are interesting offsets: a cluster. */
  readonly granularity: number
  /** Longest request in bytes. */
  readonly longest: number
  readonly discards: boolean
  /** Largest size in bytes for resizes; undefined: none. */
  readonly resizeUpTo: number | undefined
  /** Names of the run's own verbs, and how many of 100 requests each is. */
  readonly verbs: readonly { readonly name: string; readonly share: number }[]
}

type Kind = Exclude<ConcurrentRequest['kind'], 'verb'>

/** Number of requests per 100; the rest are writes. */
const SHARES: readonly (readonly [Kind, number])[] = [
  ['read', 28],
  ['zero', 14],
  ['status', 4],
  ['flush', 5],
]

/** Generates the requests of a run on a disk of `size` bytes, in the order in which they are made. */
export function planRequests(settings: PlanSettings, size: number): ConcurrentRequest[] {
  const random = createRandom(settings.seed)
  const shares: (readonly [Kind, number])[] = [...SHARES]
  if (settings.discards) shares.push(['discard', 9])
  if (settings.resizeUpTo !== undefined) shares.push(['resize', 3])
  const reach = Math.max(size, settings.resizeUpTo ?? 0)
  // Most requests go here: elsewhere, two requests are unlikely to overlap.
  const hot = randomOffset(random, reach, settings)
  const verbs = settings.verbs.map(({ name, share }) => [name, share] as const)
  const where = (number: number): Where => ({ size, reach, hot, number })
  const requests: ConcurrentRequest[] = []
  for (let number = 1; number <= settings.requests; number++) {
    const verb = draw(random, verbs)
    if (verb !== undefined) requests.push({ kind: 'verb', name: verb, seed: random.int(0, 2 ** 31) })
    else requests.push(randomRequest(settings, random, draw(random, shares) ?? 'write', where(number)))
  }
  return requests
}

/** Draws by shares of 100; undefined: the remaining share. */
function draw<T>(random: Random, shares: readonly (readonly [T, number])[]): T | undefined {
  let dice = random.int(0, 100)
  for (const [what, share] of shares) {
    if (dice < share) return what
    dice -= share
  }
  return undefined
}

interface Where {
  readonly size: number
  readonly reach: number
  readonly hot: number
  readonly number: number
}

function randomRequest(settings: PlanSettings, random: Random, kind: Kind, where: Where): ConcurrentRequest {
  const { sector, granularity, longest } = settings
  if (kind === 'flush') return { kind }
  if (kind === 'resize') {
    const size = random.chance(0.4) ? where.size : randomOffset(random, where.reach, settings)
    return { kind, size: alignDown(Math.max(size, sector), Math.max(sector, 512)) }
  }
  const near = where.hot + random.int(-longest, longest)
  const wish = random.chance(0.6) ? Math.max(near, 0) : randomOffset(random, where.reach, settings)
  const offset = Math.min(alignDown(wish, sector), where.reach - sector)
  const wanted = random.chance(0.3) ? granularity * random.int(1, 3) : random.int(1, longest + 1)
  const length = Math.max(alignDown(Math.min(wanted, longest, where.reach - offset), sector), sector)
  switch (kind) {
    case 'write':
      return {
        kind,
        offset,
        length,
        stamp: random.chance(0.06) ? 0 : where.number,
        fua: random.chance(0.05),
      }
    case 'zero':
      return { kind, offset, length, mayUnmap: random.chance(0.5) }
    case 'discard':
      // Mostly whole clusters: discarding parts of them rarely does anything.
      return random.chance(0.3)
        ? { kind, offset, length }
        : {
            kind,
            offset: alignDown(offset, granularity),
            length: Math.min(granularity * random.int(1, 4), where.reach - alignDown(offset, granularity)),
          }
    default:
      return { kind, offset, length }
  }
}

/** An offset on the disk: often at or next to a multiple of the granularity, sometimes anywhere. */
function randomOffset(random: Random, size: number, { granularity, sector }: PlanSettings): number {
  const anywhere = random.int(0, size)
  if (random.chance(0.3)) return alignDown(anywhere, sector)
  const near = alignDown(anywhere, granularity) + random.pick([0, 0, sector, -sector, granularity / 2])
  return alignDown(Math.min(Math.max(near, 0), size - sector), sector)
}
