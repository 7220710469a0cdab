/** How much a throttled disk may do: limits of bytes and of requests a second, and the leaky buckets that measure them. */
import { requireCount, requireOptions } from '../base/arguments.ts'
import { BlockError } from '../base/errors.ts'

/** What a limit counts: bytes or requests, of reads, of writes, or of both together. */
export const QUANTITIES = ['bpsTotal', 'bpsRead', 'bpsWrite', 'iopsTotal', 'iopsRead', 'iopsWrite'] as const

type Quantity = (typeof QUANTITIES)[number]

/**
 * Limits of a throttle group: QEMU's `ThrottleLimits`. `bpsTotal` and the like are bytes a second, `iopsTotal` and the like
 * requests a second; 0 or absent: no limit. `bpsTotalMax` is the rate of a burst, and `bpsTotalMaxLength` how many seconds
 * a burst may last (default 1). Reads and writes are limited together (`Total`) or apart.
 */
export type ThrottleLimits = {
  readonly [Key in `${Quantity}${'' | 'Max' | 'MaxLength'}`]?: number | undefined
} & {
  /** A request of more bytes than this counts as several requests: as many as it is times as long. */
  readonly iopsSize?: number | undefined
}

/** The names of all limits. */
export const LIMITS: readonly (keyof ThrottleLimits)[] = [
  ...QUANTITIES.flatMap((name) => [name, `${name}Max`, `${name}MaxLength`] as const),
  'iopsSize',
]

const CHECKS = Object.fromEntries(LIMITS.map((name) => [name, requireCount]))

/** The largest rate. */
const MOST = 1e15

/** Which requests a bucket measures. */
export type Direction = 'read' | 'write'

const MEASURES: Readonly<
  Record<Direction, { readonly bytes: readonly Quantity[]; readonly requests: readonly Quantity[] }>
> = {
  read: { bytes: ['bpsTotal', 'bpsRead'], requests: ['iopsTotal', 'iopsRead'] },
  write: { bytes: ['bpsTotal', 'bpsWrite'], requests: ['iopsTotal', 'iopsWrite'] },
}

const refuse = (message: string): never => {
  throw new BlockError('EINVAL', message)
}

/**
 * A bucket into which requests pour, and which leaks at the rate of the limit. While it is too full, requests wait. It
 * holds a tenth of a second, or a whole burst; a second bucket keeps longer bursts to their own rate.
 */
class LeakyBucket {
  readonly #rate: number
  readonly #burstRate: number
  readonly #burstSeconds: number
  #level = 0
  #burstLevel = 0

  constructor(rate: number, burstRate: number, burstSeconds: number) {
    this.#rate = rate
    this.#burstRate = burstRate
    this.#burstSeconds = burstSeconds
  }

  leak(seconds: number): void {
    this.#level = Math.max(this.#level - this.#rate * seconds, 0)
    this.#burstLevel = Math.max(this.#burstLevel - this.#burstRate * seconds, 0)
  }

  pour(units: number): void {
    this.#level += units
    this.#burstLevel += units
  }

  /** Seconds until the next request may pass. */
  get wait(): number {
    if (this.#rate === 0) return 0
    const burst = this.#burstRate > 0
    const extra = this.#level - (burst ? this.#burstRate * this.#burstSeconds : this.#rate / 10)
    if (extra > 0) return extra / this.#rate
    if (this.#burstSeconds <= 1) return 0
    return Math.max(this.#burstLevel - this.#burstRate / 10, 0) / this.#burstRate
  }
}

/** The buckets of one group. Times are milliseconds of a monotonic clock. */
export class ThrottleBuckets {
  readonly #buckets: Readonly<Record<Quantity, LeakyBucket>>
  readonly #iopsSize: number
  #leakedAt: number

  /** @throws BlockError EINVAL, in QEMU's words, for limits that contradict each other */
  constructor(limits: ThrottleLimits, now: number) {
    checkLimits(limits)
    const bucket = (name: Quantity): [Quantity, LeakyBucket] => [
      name,
      new LeakyBucket(limits[name] ?? 0, limits[`${name}Max`] ?? 0, limits[`${name}MaxLength`] ?? 1),
    ]
    this.#buckets = Object.fromEntries(QUANTITIES.map(bucket)) as Record<Quantity, LeakyBucket>
    this.#iopsSize = limits.iopsSize ?? 0
    this.#leakedAt = now
  }

  /** Milliseconds that the next request of this direction has to wait. */
  wait(direction: Direction, now: number): number {
    const seconds = Math.max(now - this.#leakedAt, 0) / 1000
    this.#leakedAt = now
    for (const bucket of Object.values(this.#buckets)) bucket.leak(seconds)
    const { bytes, requests } = MEASURES[direction]
    const longest = Math.max(...[...bytes, ...requests].map((name) => this.#buckets[name].wait))
    // Whole nanoseconds: what rounding leaves in a bucket needs no timer.
    return Math.floor(longest * 1e9) / 1e6
  }

  /** Counts a request that passes. */
  count(direction: Direction, bytes: number): void {
    const requests = this.#iopsSize > 0 ? Math.max(bytes / this.#iopsSize, 1) : 1
    const measures = MEASURES[direction]
    for (const name of measures.bytes) this.#buckets[name].pour(bytes)
    for (const name of measures.requests) this.#buckets[name].pour(requests)
  }
}

/** @throws BlockError EINVAL */
export function checkLimits(limits: ThrottleLimits): void {
  requireOptions(limits, 'limits', CHECKS)
  const given = (...names: (keyof ThrottleLimits)[]): boolean => names.some((name) => (limits[name] ?? 0) > 0)
  for (const unit of ['bps', 'iops'] as const)
    for (const kind of ['', 'Max'] as const)
      if (given(`${unit}Total${kind}`) && given(`${unit}Read${kind}`, `${unit}Write${kind}`))
        refuse('bps/iops/max total values and read/write values cannot be used at the same time')
  if (given('iopsSize') && !given('iopsTotal', 'iopsRead', 'iopsWrite'))
    refuse('iops size requires an iops value to be set')
  for (const name of QUANTITIES) {
    const rate = limits[name] ?? 0
    const burst = limits[`${name}Max`] ?? 0
    const seconds = limits[`${name}MaxLength`] ?? 1
    if (rate > MOST || burst > MOST) refuse(`bps/iops/max values must be within [0, ${MOST}]`)
    if (seconds === 0) refuse('the burst length cannot be 0')
    if (seconds > 1 && burst === 0) refuse('burst length set without burst rate')
    if (burst > 0 && seconds > Math.floor(MOST / burst)) refuse('burst length too high for this burst rate')
    if (burst > 0 && rate === 0) refuse('bps_max/iops_max require corresponding bps/iops values')
    if (burst > 0 && burst < rate) refuse('bps_max/iops_max cannot be lower than bps/iops')
  }
}
