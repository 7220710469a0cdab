/** Random requests of a guest, some of them in parallel: the main part of most crash workloads. */
import { alignDown, overlaps, SECTOR } from '../base/bits.ts'
import type { CrashGuest } from './crash-guest.ts'
import type { CrashScene } from './crash-workload.ts'
import type { Random } from './random.ts'

/** The kinds of requests. */
export type RequestKind = 'write' | 'fua' | 'cluster' | 'compressed' | 'zero' | 'discard' | 'flush'

/** How the requests are chosen. */
export interface RequestMix {
  /** Batches of one to three requests. Default 25. */
  readonly count?: number
  /** Relative frequency of each kind; absent kinds never occur. Default: {@link MIXED}. */
  readonly kinds?: Partial<Readonly<Record<RequestKind, number>>>
  /** Bytes of a cluster: `cluster`, `zero` and `discard` mostly cover whole ones, `compressed` always. */
  readonly cluster: number
  /** Guest bytes [from, to) that requests may touch. Default: the whole disk. */
  readonly area?: readonly [from: number, to: number]
  /** Called between batches. */
  between?(): void | Promise<void>
}

/** Every kind of request, and mostly writes. */
export const MIXED: NonNullable<RequestMix['kinds']> = {
  write: 5,
  fua: 1,
  cluster: 1,
  zero: 1,
  discard: 1,
  flush: 1,
}

interface Range {
  readonly offset: number
  readonly bytes: number
}

/** Makes random requests. Parallel ones do not overlap, because their order would be undefined. */
export async function randomRequests({ random, guest }: CrashScene, mix: RequestMix): Promise<void> {
  const { count = 25, kinds = MIXED, between } = mix
  const lots = Object.entries(kinds).flatMap(([kind, often]) =>
    Array.from({ length: often }, () => kind as RequestKind),
  )
  for (let i = 0; i < count; i++) {
    const taken: Range[] = []
    const batch: Promise<void>[] = []
    for (let lane = random.pick([1, 1, 2, 3]); lane > 0; lane--) {
      const kind = random.pick(lots)
      const range = kind === 'flush' ? { offset: 0, bytes: 0 } : rangeFor(kind, random, mix, guest.size)
      if (taken.some((other) => touch(range, other))) continue
      taken.push(range)
      batch.push(request(guest, kind, range, random))
    }
    await Promise.all(batch)
    await between?.()
  }
}

const touch = (a: Range, b: Range): boolean =>
  overlaps(a.offset, a.offset + a.bytes, b.offset, b.offset + b.bytes)

function rangeFor(kind: RequestKind, random: Random, { cluster, area }: RequestMix, size: number): Range {
  const [from, to] = area ?? [0, size]
  const end = Math.min(to, size)
  const isWhole = kind === 'cluster' || kind === 'zero' || kind === 'discard'
  const unit = kind === 'compressed' || (isWhole && random.chance(0.8)) ? cluster : SECTOR
  const first = alignDown(random.int(from, Math.max(end, from + 1)), unit)
  const wanted = unit * random.int(1, unit === cluster && cluster > SECTOR ? 4 : 24)
  const bytes = Math.min(wanted, alignDown(end - first, SECTOR))
  return { offset: first, bytes: Math.max(bytes, 0) }
}

function request(
  guest: CrashGuest,
  kind: RequestKind,
  { offset, bytes }: Range,
  random: Random,
): Promise<void> {
  switch (kind) {
    case 'write':
    case 'cluster':
      return guest.write(offset, bytes)
    case 'compressed':
      return guest.writeCompressed(offset, bytes)
    case 'fua':
      return guest.write(offset, bytes, { fua: true })
    case 'zero':
      return guest.zero(offset, bytes, random.chance(0.5))
    case 'discard':
      return guest.discard(offset, bytes)
    case 'flush':
      return guest.flush()
  }
}
